# oneDNN, whichever way it is installed. Debian's own package config insists on OpenCL headers that we never
# use, so the header and the library are looked for directly; ONEDNN_ROOT points to another prefix.
if(NOT ONEDNN_ROOT AND DEFINED ENV{ONEDNN_ROOT})
    set(ONEDNN_ROOT "$ENV{ONEDNN_ROOT}")
endif()
if(NOT "${ONEDNN_ROOT}" STREQUAL "${DNNL_LOOKED_FOR_IN}") # what was found for another prefix does not count
    unset(DNNL_INCLUDE_DIR CACHE)
    unset(DNNL_LIBRARY CACHE)
endif()
set(DNNL_LOOKED_FOR_IN "${ONEDNN_ROOT}" CACHE INTERNAL "the ONEDNN_ROOT that DNNL_INCLUDE_DIR and DNNL_LIBRARY belong to")
if(ONEDNN_ROOT) # there and nowhere else: the system's must not stand in for a prefix with a typing error
    set(dnnl_places PATHS "${ONEDNN_ROOT}" NO_DEFAULT_PATH)
endif()
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.h ${dnnl_places} PATH_SUFFIXES include)
find_library(DNNL_LIBRARY dnnl ${dnnl_places} PATH_SUFFIXES lib lib64 lib/${CMAKE_LIBRARY_ARCHITECTURE})
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(DnnlAny REQUIRED_VARS DNNL_LIBRARY DNNL_INCLUDE_DIR)
if(DnnlAny_FOUND AND NOT TARGET espalier::dnnl)
    add_library(espalier::dnnl UNKNOWN IMPORTED)
    set_target_properties(espalier::dnnl PROPERTIES
        IMPORTED_LOCATION ${DNNL_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${DNNL_INCLUDE_DIR})
endif()
