// SPDX-License-Identifier: Apache-2.0

//! The runtime Keep program: checks an artifact, maps it and runs it under WASI
