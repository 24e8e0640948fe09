# The packages, from the system where it has them; else, with QUERY2LABEL_FETCH, downloaded.
include(FetchContent)

# query2label_find(NAME [VERSION]): find_package, or FetchContent of what was declared as NAME.
macro(query2label_find name)
  find_package(${name} ${ARGN} QUIET)
  if(NOT ${name}_FOUND)
    if(NOT QUERY2LABEL_FETCH)
      message(FATAL_ERROR "query2label needs ${name} ${ARGN}; install it or set QUERY2LABEL_FETCH")
    endif()
    FetchContent_MakeAvailable(${name})
  endif()
endmacro()

set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # else what is set here changes no option of theirs
set(CLI11_PRECOMPILED OFF)
set(JSON_Install ON)  # an installed query2label needs it
set(BENCHMARK_ENABLE_TESTING OFF)
FetchContent_Declare(xsimd
  GIT_REPOSITORY https://github.com/xtensor-stack/xsimd.git GIT_TAG 8.1.0)
FetchContent_Declare(nlohmann_json
  GIT_REPOSITORY https://github.com/nlohmann/json.git GIT_TAG v3.11.2)
FetchContent_Declare(CLI11
  GIT_REPOSITORY https://github.com/CLIUtils/CLI11.git GIT_TAG v2.1.2)
FetchContent_Declare(Catch2
  GIT_REPOSITORY https://github.com/catchorg/Catch2.git GIT_TAG v2.13.10)
FetchContent_Declare(benchmark
  GIT_REPOSITORY https://github.com/google/benchmark.git GIT_TAG v1.7.1)
FetchContent_Declare(Eigen3
  GIT_REPOSITORY https://gitlab.com/libeigen/eigen.git GIT_TAG 3.4.0)
FetchContent_Declare(stb
  GIT_REPOSITORY https://github.com/nothings/stb.git GIT_TAG 8b5f1f37b5b75829fc72d38e7b5d4bcbf8a26d55)

find_package(Threads REQUIRED)
query2label_find(nlohmann_json 3.9)

# xsimd and stb by their headers: stb has no package, and xsimd's may ask for a library (xtl) that is
# neither needed nor always there.
function(query2label_find_headers name file)
  string(TOUPPER "QUERY2LABEL_${name}_INCLUDE_DIR" variable)
  find_path(${variable} NAMES ${file} ${ARGN})
  if(NOT ${variable})
    if(NOT QUERY2LABEL_FETCH)
      message(FATAL_ERROR "query2label needs ${file}; install it or set ${variable}")
    endif()
    FetchContent_GetProperties(${name})
    if(NOT ${name}_POPULATED)
      FetchContent_Populate(${name})
    endif()
    find_path(${variable} NAMES ${file} ${ARGN} PATHS "${${name}_SOURCE_DIR}"
              PATH_SUFFIXES include NO_DEFAULT_PATH REQUIRED)
    set(${variable}_IS_FETCHED ON CACHE INTERNAL "")
  endif()
endfunction()
query2label_find_headers(xsimd xsimd/xsimd.hpp)
query2label_find_headers(stb stb/stb_image.h stb_image.h)

add_library(query2label_headers INTERFACE)
target_include_directories(query2label_headers SYSTEM INTERFACE
  $<BUILD_INTERFACE:${QUERY2LABEL_XSIMD_INCLUDE_DIR}>
  $<BUILD_INTERFACE:${QUERY2LABEL_STB_INCLUDE_DIR}>)
