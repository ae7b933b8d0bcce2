# The drivers' tests: CMakeLists.txt includes this where tests are built, after the component.

# The fake VMM: static, since its jail holds nothing but itself, and so never instrumented.
add_executable(tinderbox_fake_vmm fake/fake_vmm.cc)
target_link_options(tinderbox_fake_vmm PRIVATE -static)
target_link_libraries(tinderbox_fake_vmm PRIVATE Threads::Threads)

add_library(tinderbox_driver_test STATIC driver_test_fixture.cc fake/fake_driver.cc)
target_link_libraries(tinderbox_driver_test PUBLIC tinderbox_launch_test)
target_compile_definitions(tinderbox_driver_test PUBLIC
  TINDERBOX_GUESTS="${PROJECT_BINARY_DIR}/guests"
  TINDERBOX_FAKE_VMM="$<TARGET_FILE:tinderbox_fake_vmm>"
  TINDERBOX_QEMU_PROBE="$<TARGET_FILE:tinderbox_qemu_probe>"
  TINDERBOX_GET_FIRECRACKER="${PROJECT_SOURCE_DIR}/tools/get-firecracker")
add_dependencies(tinderbox_driver_test tinderbox_qemu_memory tinderbox_fake_vmm tinderbox_qemu_probe
                 tinderbox_guests)
tinderbox_sanitize(tinderbox_driver_test)
target_link_libraries(vmm_vm_tests PRIVATE tinderbox_driver_test)
