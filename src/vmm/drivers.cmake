# The drivers' part of this component: CMakeLists.txt includes it.
set(driver_sources
  probe.cc probe_run.cc internal/probe_guest.cc
  host_facts.cc program_files.cc elf_needs.cc check_spec.cc version.cc starting_vm.cc last_words.cc drivers.cc choose.cc driver.cc
  memory_file.cc memory_capture.cc
  firecracker/api.cc firecracker/plan.cc firecracker/snapshot_files.cc firecracker/driver.cc
  qemu/qmp.cc qemu/io_events.cc io_events.cc disk_check.cc qemu/plan.cc qemu/runtime.cc qemu/state_file.cc qemu/device_state.cc qemu/driver.cc)
set(driver_tests
  probe_test.cc program_files_test.cc choose_test.cc version_test.cc
  firecracker/plan_test.cc firecracker/api_test.cc
  qemu/plan_test.cc qemu/qmp_test.cc qemu/io_events_test.cc qemu/state_file_test.cc
  memory_capture_root_test.cc
  driver_contract_vm_test.cc driver_jail_vm_test.cc driver_snapshot_vm_test.cc driver_faults_vm_test.cc)

# What QEMU's jail loads into QEMU, and the ld.so.preload that says so: beside the warden, as
# installed. Never instrumented: no sanitizer's run-time is in QEMU.
add_library(tinderbox_qemu_memory MODULE qemu/memory_opener.cc)
set_target_properties(tinderbox_qemu_memory PROPERTIES
  PREFIX "" OUTPUT_NAME tinderbox-qemu-memory
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/src/warden)
target_link_options(tinderbox_qemu_memory PRIVATE -nostdlib -lc)
file(WRITE ${PROJECT_BINARY_DIR}/src/warden/tinderbox-qemu-memory.preload "/qemu-memory.so\n")
# Executable, as no library must be elsewhere: a jail binds what is not as data (noexec).
install(TARGETS tinderbox_qemu_memory LIBRARY DESTINATION libexec/tinderbox COMPONENT programs
        PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
                    WORLD_READ WORLD_EXECUTE)
install(FILES ${PROJECT_BINARY_DIR}/src/warden/tinderbox-qemu-memory.preload
        DESTINATION libexec/tinderbox COMPONENT programs)
