// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <vector>

#include "volume/tree.h"

namespace tinderbox::api {

// What stands in a volume, as E2B's clients expect it.
boost::json::object EntryJson(const volume::Entry& entry);
boost::json::array EntriesJson(const std::vector<volume::Entry>& entries);

}  // namespace tinderbox::api
