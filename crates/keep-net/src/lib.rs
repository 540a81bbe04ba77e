// SPDX-License-Identifier: Apache-2.0

//! The network of a Keep: TLS on what the host carries, names, and which peers are let in.

#![forbid(unsafe_code)]
