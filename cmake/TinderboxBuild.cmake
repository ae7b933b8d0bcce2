# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
#
# What every component shares: flags, libraries, and tinderbox_component().

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS ON)  # TRY is a GNU statement expression.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
include(GNUInstallDirs)

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()

set(TINDERBOX_SANITIZE "" CACHE STRING "Sanitizers for the host programs, as for -fsanitize=")
option(TINDERBOX_WERROR "Warnings are errors" OFF)
option(TINDERBOX_BUILD_TESTS "Build the tests" ON)
option(TINDERBOX_FUZZ "Build the fuzz targets (preset fuzz)" OFF)

add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers
                    -fstack-protector-strong)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  add_compile_options(-Wno-gnu-statement-expression -ftrivial-auto-var-init=zero)
else()
  # g++ 12 warns of paths inside std::string that cannot be taken (its own bug 105329).
  add_compile_options(-Wno-restrict -Wno-maybe-uninitialized -Wno-dangling-pointer)
endif()
if(TINDERBOX_WERROR)
  add_compile_options(-Werror)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  add_compile_definitions(_FORTIFY_SOURCE=2)
endif()
add_link_options(-Wl,-z,relro,-z,now)

# src/ is the root of our own includes alone ("sys/file.h"): as a plain include directory it would
# hide the system's <sys/file.h> and <sys/mount.h>.
set(TINDERBOX_INCLUDE_ROOT -iquote${PROJECT_SOURCE_DIR}/src)

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(PkgConfig REQUIRED)

# Boost's header-only parts are compiled once, here, not in every file that uses them.
add_library(tinderbox_boost_json STATIC ${CMAKE_CURRENT_LIST_DIR}/boost/json.cc)
target_link_libraries(tinderbox_boost_json PUBLIC Boost::headers)
add_library(tinderbox_boost_asio STATIC ${CMAKE_CURRENT_LIST_DIR}/boost/asio.cc)
target_compile_definitions(tinderbox_boost_asio PUBLIC
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED)
target_link_libraries(tinderbox_boost_asio PUBLIC Boost::headers Threads::Threads)

if(TINDERBOX_BUILD_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

# tinderbox_sanitize(target): instruments a host program or test. Static programs (warden, agent)
# are never instrumented: the one is measured in microseconds, the other runs as process 1.
function(tinderbox_sanitize target)
  if(TINDERBOX_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${TINDERBOX_SANITIZE}
                           -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=${TINDERBOX_SANITIZE})
  endif()
endfunction()

# tinderbox_component(NAME [SOURCES …] [TESTS …] [LINK …] [TEST_LINK …])
#
# Makes the static library tinderbox_NAME out of SOURCES, with src/ as its include root, and for the
# tests one program per label. The label stands in the file's name:
#   foo_test.cc        unit   no root, no network, milliseconds
#   foo_root_test.cc   root   needs root: namespaces, mounts, cgroups
#   foo_vm_test.cc     vm     starts real VMMs (QEMU, or Firecracker with tiny guests)
function(tinderbox_component name)
  cmake_parse_arguments(ARG "" "" "SOURCES;TESTS;LINK;TEST_LINK" ${ARGN})
  set(target tinderbox_${name})
  if(ARG_SOURCES)
    add_library(${target} STATIC ${ARG_SOURCES})
    target_compile_options(${target} PUBLIC ${TINDERBOX_INCLUDE_ROOT})
    target_link_libraries(${target} PUBLIC ${ARG_LINK})
    tinderbox_sanitize(${target})
  else()
    add_library(${target} INTERFACE)
    target_compile_options(${target} INTERFACE ${TINDERBOX_INCLUDE_ROOT})
    target_link_libraries(${target} INTERFACE ${ARG_LINK})
  endif()
  tinderbox_tests(${name} TESTS ${ARG_TESTS} LINK ${target} ${ARG_TEST_LINK})
endfunction()

# tinderbox_tests(NAME TESTS … LINK …): the test programs alone, as described above.
function(tinderbox_tests name)
  cmake_parse_arguments(ARG "" "" "TESTS;LINK" ${ARGN})
  if(NOT TINDERBOX_BUILD_TESTS)
    return()
  endif()
  foreach(source IN LISTS ARG_TESTS)
    if(source MATCHES "_(root|vm)_test\\.cc$")
      list(APPEND tests_${CMAKE_MATCH_1} ${source})
    else()
      list(APPEND tests_unit ${source})
    endif()
  endforeach()
  foreach(label IN ITEMS unit root vm)
    if(tests_${label})
      set(program ${name}_${label}_tests)
      add_executable(${program} ${tests_${label}})
      target_compile_options(${program} PRIVATE ${TINDERBOX_INCLUDE_ROOT})
      target_link_libraries(${program} PRIVATE ${ARG_LINK} GTest::gmock GTest::gtest_main)
      tinderbox_sanitize(${program})
      if(label STREQUAL unit)
        gtest_discover_tests(${program} TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST
                             PROPERTIES LABELS ${label} TIMEOUT 120)
      elseif(label STREQUAL root)
        # The lock: these change the host, so each runs beside unit tests but not beside another of them.
        gtest_discover_tests(${program} TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST
                             PROPERTIES LABELS ${label} TIMEOUT 120 RESOURCE_LOCK host)
      else()
        # One process for the file's expensive fixtures; these must not run beside each other's VMs.
        add_test(NAME ${name}.${label} COMMAND ${program})
        set_tests_properties(${name}.${label} PROPERTIES LABELS ${label} TIMEOUT 900
                             RUN_SERIAL ON SKIP_RETURN_CODE 77)
      endif()
    endif()
  endforeach()
endfunction()
