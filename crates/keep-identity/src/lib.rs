// SPDX-License-Identifier: Apache-2.0

//! Who a Keep is: its key, its request to the Steward, what it believes of the answer, and when to ask again.

#![forbid(unsafe_code)]
