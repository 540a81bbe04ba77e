// SPDX-License-Identifier: Apache-2.0

//! The image builder: one code path for a launch and for the offline measurement
