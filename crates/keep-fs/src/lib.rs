// SPDX-License-Identifier: Apache-2.0

//! The file system that lives in the Keep's memory
