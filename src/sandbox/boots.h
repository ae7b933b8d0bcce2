// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "image/library.h"
#include "sandbox/open.h"

namespace tinderbox::sandbox {

// A template as a VM of a certain size. What its sandboxes are restored from.
struct Shape {
  std::uint32_t memory_mib = 0;
  std::uint32_t cpus = 0;
};

// Boot snapshots: a template's VM, booted once, its agent ready and its path run once, saved before
// it was anybody's. Each template and shape has one; it is taken when it is first needed, and again
// when what it depends on (template, kernel, agent, VMM, CPU) has changed. Safe from any thread.
class Boots {
 public:
  // `seal_later` has the checksums of a new boot snapshot written, and returns at once.
  Boots(const ManagerOptions& options, std::function<void(const image::Template&)> seal_later)
      : options_(options), seal_later_(std::move(seal_later)) {}

  // The boot snapshot of `source` in that shape. Takes it if it is missing (seconds), or waits for
  // another caller that is taking it.
  base::Result<image::Template> Ensure(const image::Template& source, Shape shape);
  // The same without taking or waiting; kNotFound.
  base::Result<image::Template> Find(const image::Template& source, Shape shape);
  // Its id: derived from all that it depends on.
  base::Result<std::string> IdOf(const image::Template& source, Shape shape);
  bool InProgress(const std::string& id);
  // Removes those that nothing can use any more; their ids.
  base::Result<std::vector<std::string>> Prune(std::uint64_t& freed_bytes);

 private:
  base::Result<image::Template> Take(const image::Template& source, Shape shape,
                                     const std::string& id);

  const ManagerOptions& options_;
  const std::function<void(const image::Template&)> seal_later_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> in_progress_;
  // After a failure the next attempts are refused for a while: each costs seconds.
  struct Failure {
    base::Error error;
    std::int64_t until_ms;
  };
  std::map<std::string, Failure> failed_;
};

}  // namespace tinderbox::sandbox
