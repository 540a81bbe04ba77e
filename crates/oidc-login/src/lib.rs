// SPDX-License-Identifier: Apache-2.0

//! Logs a person or a machine in by OpenID Connect, and keeps the tokens where they belong.

#![forbid(unsafe_code)]
