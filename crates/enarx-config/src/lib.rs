// SPDX-License-Identifier: Apache-2.0

//! Enarx.toml: the grammar, its checks and its JSON schema
