# The drivers' part of this component: CMakeLists.txt includes it.
set(driver_sources
  probe.cc probe_run.cc internal/probe_guest.cc)
set(driver_tests
  probe_test.cc)
