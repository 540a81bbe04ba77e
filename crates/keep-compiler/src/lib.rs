// SPDX-License-Identifier: Apache-2.0

//! The compiler Keep program: turns a module into an authenticated artifact
