# What our own programs and tests are built with; nothing here reaches a host.
query2label_find(CLI11)
query2label_find(Eigen3)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")

set(QUERY2LABEL_MARCH "native" CACHE STRING
    "Instruction set of our programs: -march of the compiler (x86-64-v3, native, ...); empty: its default")
option(QUERY2LABEL_WERROR "Treat warnings in our code as errors" OFF)

# A target's property INSTRUCTION_SET, if it has one, stands in for QUERY2LABEL_MARCH.
set(own_flags "$<TARGET_PROPERTY:INSTRUCTION_SET>")
add_library(query2label_programs INTERFACE)
target_link_libraries(query2label_programs INTERFACE query2label::query2label)
target_compile_options(query2label_programs INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow
  $<$<BOOL:${QUERY2LABEL_WERROR}>:-Werror>
  $<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=1048576>  # a fourth less time, a fourth more memory
  "$<IF:$<BOOL:${own_flags}>,${own_flags},$<$<BOOL:${QUERY2LABEL_MARCH}>:-march=${QUERY2LABEL_MARCH}>>")

# What is slow to compile, once for all of them.
file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/query2label.cpp"
     CONTENT "#include <query2label/implementation.hpp>\n")
add_library(query2label_separate STATIC EXCLUDE_FROM_ALL "${PROJECT_BINARY_DIR}/query2label.cpp")
target_link_libraries(query2label_separate PUBLIC query2label_programs)
target_compile_definitions(query2label_separate PUBLIC QUERY2LABEL_SEPARATE_COMPILATION)
