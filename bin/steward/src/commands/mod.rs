// SPDX-License-Identifier: Apache-2.0

//! The commands, one file each.

pub(crate) mod development;
pub(crate) mod evidence;
pub(crate) mod init;
pub(crate) mod policy;
pub(crate) mod serve;
pub(crate) mod verify;
