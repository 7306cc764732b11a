# Our own SIMD kernels: every src/kernels/simd_*.c is compiled once per instruction set and chosen at run time.
file(GLOB KERNEL_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/simd_*.c)
set(ESPALIER_KERNEL_OBJECTS)
set(ESPALIER_ISAS generic)
set(ISA_FLAGS_generic -Wno-psabi) # vectors wider than the registers never cross a call
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    list(APPEND ESPALIER_ISAS avx2 avx512)
    set(ISA_FLAGS_avx2 -mavx2 -mfma)
    set(ISA_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512)
endif()
foreach(isa ${ESPALIER_ISAS})
    add_library(kernels_${isa} OBJECT ${KERNEL_SOURCES})
    target_include_directories(kernels_${isa} PRIVATE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
    # Predictive commoning spills the accumulators of the depthwise kernels (110 -> 75 GFLOP/s).
    target_compile_options(kernels_${isa} PRIVATE ${ISA_FLAGS_${isa}} -DNAS_ISA=${isa} -fvisibility=hidden
        -fno-predictive-commoning -ffp-contract=fast -fno-strict-aliasing)
    target_link_libraries(kernels_${isa} PRIVATE espalier_flags OpenMP::OpenMP_C)
    list(APPEND ESPALIER_KERNEL_OBJECTS $<TARGET_OBJECTS:kernels_${isa}>)
endforeach()
