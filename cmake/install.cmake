# make install, and find_package(query2label) afterwards.
include(CMakePackageConfigHelpers)

install(DIRECTORY include/query2label DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS query2label query2label_headers EXPORT query2labelTargets)
install(EXPORT query2labelTargets NAMESPACE query2label::
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/query2label)
# A downloaded package goes with the headers that include it.
if(QUERY2LABEL_XSIMD_INCLUDE_DIR_IS_FETCHED)
  install(DIRECTORY "${QUERY2LABEL_XSIMD_INCLUDE_DIR}/xsimd" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()
if(QUERY2LABEL_STB_INCLUDE_DIR_IS_FETCHED)
  install(FILES "${QUERY2LABEL_STB_INCLUDE_DIR}/stb_image.h"
                "${QUERY2LABEL_STB_INCLUDE_DIR}/stb_image_write.h"
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/stb)
endif()
configure_package_config_file(cmake/query2labelConfig.cmake.in query2labelConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/query2label PATH_VARS CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(query2labelConfigVersion.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/query2labelConfig.cmake"
              "${PROJECT_BINARY_DIR}/query2labelConfigVersion.cmake"
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/query2label)
