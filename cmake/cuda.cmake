# The optional CUDA headers: their tests, benchmark and example, where nvcc is found. Hosts need
# nothing of this: they include query2label/cuda/*.cuh in a CUDA source and link query2label.
include(CheckLanguage)
if(PROJECT_IS_TOP_LEVEL)
  # Tensor cores of 8.0 and 9.0, and PTX that later cards compile themselves.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
  endif()
  if(NOT DEFINED CMAKE_CUDA_COMPILER)
    find_program(CMAKE_CUDA_COMPILER nvcc HINTS ENV CUDA_PATH PATHS /usr/local/cuda/bin)
    mark_as_advanced(CMAKE_CUDA_COMPILER)
    if(NOT CMAKE_CUDA_COMPILER)
      unset(CMAKE_CUDA_COMPILER CACHE)
    endif()
  endif()
  check_language(CUDA)
endif()
set(cuda_is_there OFF)
if(PROJECT_IS_TOP_LEVEL AND CMAKE_CUDA_COMPILER)
  set(cuda_is_there ON)
endif()
option(QUERY2LABEL_BUILD_CUDA "Build what needs nvcc: CUDA tests, benchmark, example"
       ${cuda_is_there})
if(NOT QUERY2LABEL_BUILD_CUDA)
  return()
endif()

enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
add_library(query2label_cuda_programs INTERFACE)
target_link_libraries(query2label_cuda_programs INTERFACE query2label::query2label)
# By flag: CMake 3.25 knows no cuda_std_20 of nvcc 13. Warning 554 overlooks a requires-clause of
# Matrix. The instruction set is that of the C++ objects that the tests link.
target_compile_options(query2label_cuda_programs INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 -diag-suppress=554 -Xcompiler=-Wall,-Wextra,-Wshadow,-Wconversion>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${QUERY2LABEL_MARCH}>>:-Xcompiler=-march=${QUERY2LABEL_MARCH}>)

set(no_gpu_here 77)  # the exit code of programs that found no GPU

if(QUERY2LABEL_BUILD_TESTS)
  file(GLOB cuda_test_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/cuda/*_test.cu")
  add_executable(query2label_cuda_tests
    "${PROJECT_SOURCE_DIR}/tests/cuda/main.cpp" ${cuda_test_sources}
    $<TARGET_OBJECTS:check_golden>)
  target_include_directories(query2label_cuda_tests PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(query2label_cuda_tests PRIVATE
    query2label_cuda_programs $<LINK_ONLY:query2label_separate> query2label_catch
    CUDA::cudart_static)
  target_compile_definitions(query2label_cuda_tests PRIVATE
    Q2L_TESTS_DIR="${PROJECT_SOURCE_DIR}/tests")
  add_test(NAME "cuda" COMMAND query2label_cuda_tests)
  set_tests_properties("cuda" PROPERTIES LABELS cuda SKIP_RETURN_CODE ${no_gpu_here})

  if(TARGET CUDA::cublas)  # which the benchmark compares with
    add_executable(attention_benchmark
      "${PROJECT_SOURCE_DIR}/benchmarks/cuda/attention_benchmark.cu")
    target_link_libraries(attention_benchmark PRIVATE query2label_cuda_programs CUDA::cublas)
  endif()
endif()

if(QUERY2LABEL_BUILD_EXAMPLES)
  add_executable(08_cuda_attention "${PROJECT_SOURCE_DIR}/examples/08_cuda_attention.cu")
  target_link_libraries(08_cuda_attention PRIVATE query2label_cuda_programs)
  if(QUERY2LABEL_BUILD_TESTS)
    add_test(NAME "example: 08_cuda_attention" COMMAND 08_cuda_attention)
    set_tests_properties("example: 08_cuda_attention" PROPERTIES
      LABELS cuda SKIP_RETURN_CODE ${no_gpu_here})
  endif()
endif()
