# The drivers' part of this component: CMakeLists.txt includes it.
set(driver_sources
  probe.cc probe_run.cc internal/probe_guest.cc
  host_facts.cc check_spec.cc version.cc starting_vm.cc drivers.cc choose.cc
  firecracker/api.cc firecracker/plan.cc firecracker/driver.cc
  qemu/qmp.cc qemu/plan.cc qemu/driver.cc)
set(driver_tests
  probe_test.cc choose_test.cc version_test.cc
  firecracker/plan_test.cc firecracker/api_test.cc
  qemu/plan_test.cc qemu/qmp_test.cc
  driver_contract_vm_test.cc driver_faults_vm_test.cc)
