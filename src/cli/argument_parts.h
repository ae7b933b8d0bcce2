// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/options.h"

// What the definitions of commands are made of: for arguments*.cc alone, the files that know CLI11.
namespace tinderbox::cli {

// One command while it is being parsed: its options' place, and what makes a Command of them.
struct Building {
  Invocation invocation;
  std::vector<std::string> after_dashes;  // what stood behind the first "--"
  bool had_dashes = false;
  std::map<CLI::App*, std::function<Command()>> finish;
};

void AddGlobal(CLI::App* app, GlobalOptions& global);
// A whole number above 0. (CLI11's own names a range up to 1.8e308 in its error.)
CLI::Validator Positive();
// An option KEY=VALUE that may be repeated.
void AddPairs(CLI::App* app, const std::string& flags, Pairs& pairs, const std::string& what);
// Throws CLI::ValidationError for what is no duration.
void SetDuration(std::chrono::seconds& to, const std::string& text);
CLI::App* AddCommand(CLI::App& app, Building& b, const std::string& name, const std::string& what,
                     const std::string& examples);

// Options live as long as the parse: each command's struct is owned by its `finish`.
template <typename Options>
std::shared_ptr<Options> Own(Building& b, CLI::App* sub) {
  auto options = std::make_shared<Options>();
  b.finish[sub] = [options] { return Command(*options); };
  return options;
}

// arguments_states.cc: pause, resume, fork, snapshot, rollback, template, prune.
void DefineStates(CLI::App& app, Building& b);
// arguments_volumes.cc: volume.
void DefineVolumes(CLI::App& app, Building& b);
// arguments_recover.cc: recover.
void DefineRecover(CLI::App& app, Building& b);
// arguments_keys.cc: key.
void DefineKeys(CLI::App& app, Building& b);
// arguments_secrets.cc: secret.
void DefineSecrets(CLI::App& app, Building& b);

}  // namespace tinderbox::cli
