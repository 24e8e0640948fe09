// SPDX-License-Identifier: MIT
// Catch2 3 by the name of Catch2 2's only header.
#pragma once

#include <catch2/catch_all.hpp>

using Catch::Approx;
