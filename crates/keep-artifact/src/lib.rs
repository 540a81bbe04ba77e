// SPDX-License-Identifier: Apache-2.0

//! The authenticated native artifact: format, signing and checking
