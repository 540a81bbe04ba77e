// SPDX-License-Identifier: Apache-2.0

//! The nil backend: the Keep programs as plain processes, for development
