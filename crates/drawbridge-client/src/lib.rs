// SPDX-License-Identifier: Apache-2.0

//! Talks to a Drawbridge for a person: users, repositories, packages, with progress and checks of every digest.

#![forbid(unsafe_code)]
