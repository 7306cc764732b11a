# espalier.pc: says where it lies relative to itself, so that `cmake --install --prefix` may put it anywhere, and lists what
# a link with the static library needs.
file(RELATIVE_PATH ESPALIER_PC_PREFIX
    /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" ESPALIER_PC_PREFIX "${ESPALIER_PC_PREFIX}")

set(ESPALIER_PC_PRIVATE)
get_filename_component(dnnl_directory ${DNNL_LIBRARY} DIRECTORY)
if(NOT dnnl_directory IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
    # found again at run time, as by the shared library
    string(APPEND ESPALIER_PC_PRIVATE "-L${dnnl_directory} -Wl,-rpath,${dnnl_directory} ")
endif()
string(APPEND ESPALIER_PC_PRIVATE "-ldnnl -ljansson -lsqlite3 -lprotobuf-c -lmicrohttpd -lpng -ljpeg -lz")
foreach(name ${OpenMP_C_LIB_NAMES})
    string(APPEND ESPALIER_PC_PRIVATE " -l${name}")
endforeach()
string(APPEND ESPALIER_PC_PRIVATE " -lm")
configure_file(cmake/espalier.pc.in ${CMAKE_BINARY_DIR}/espalier.pc @ONLY)
