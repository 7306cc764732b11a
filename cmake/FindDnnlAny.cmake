# oneDNN, whichever way it is installed. Debian's own package config insists on OpenCL headers that we never
# use, so the header and the library are looked for directly; ONEDNN_ROOT points to another prefix.
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.h HINTS ${ONEDNN_ROOT} ENV ONEDNN_ROOT PATH_SUFFIXES include)
find_library(DNNL_LIBRARY dnnl HINTS ${ONEDNN_ROOT} ENV ONEDNN_ROOT PATH_SUFFIXES lib lib64)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(DnnlAny REQUIRED_VARS DNNL_LIBRARY DNNL_INCLUDE_DIR)
if(DnnlAny_FOUND AND NOT TARGET espalier::dnnl)
    add_library(espalier::dnnl UNKNOWN IMPORTED)
    set_target_properties(espalier::dnnl PROPERTIES
        IMPORTED_LOCATION ${DNNL_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${DNNL_INCLUDE_DIR})
endif()
