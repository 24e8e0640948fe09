# Builds package/consumer against the library in the given WAY and runs it.
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE "${BINARY}")
if(WAY STREQUAL "find_package")
  run(${CMAKE_COMMAND} --install "${LIBRARY_BUILD}" --prefix "${BINARY}/prefix")
  set(where "-DCMAKE_PREFIX_PATH=${BINARY}/prefix")
  if(EXISTS "${BINARY}/prefix/bin/q2l")  # it has its model beside it
    execute_process(COMMAND "${BINARY}/prefix/bin/q2l" info OUTPUT_VARIABLE described
                    COMMAND_ERROR_IS_FATAL ANY)
    if(NOT described MATCHES "^model +${BINARY}/prefix/")
      message(FATAL_ERROR "the installed q2l takes another model: ${described}")
    endif()
  endif()
else()
  set(where "-DWAY=${WAY}" "-DQUERY2LABEL_SOURCE=${SOURCE}")
endif()
run(${CMAKE_COMMAND} -S "${CMAKE_CURRENT_LIST_DIR}/consumer" -B "${BINARY}/build" ${where})
run(${CMAKE_COMMAND} --build "${BINARY}/build")
run("${BINARY}/build/consumer")
