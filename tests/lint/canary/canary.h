// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "src/cycle.h"  // misc-header-include-cycle
