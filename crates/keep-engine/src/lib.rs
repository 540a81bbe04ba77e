// SPDX-License-Identifier: Apache-2.0

//! The one Wasmtime configuration that compiler and runtime share
