// SPDX-License-Identifier: Apache-2.0

//! What this machine's processor and firmware say of themselves: `CPUID`, and `/dev/sev`
//! (`include/uapi/linux/psp-sev.h` of Linux 6.11).
//!
//! Linux 6.11 has no command for certificates any more: the ones before it that AMD patched kept a table
//! (`SNP_GET_EXT_CONFIG`), which the mainline never took over. A VLEK therefore comes out of a file, see
//! [`Table`](crate::Table).
//!
//! **The requests to `/dev/sev` have never run on hardware.** Reading their answers is pure logic, and
//! tested.

use evidence_claims::{SigningKey, SnpProduct};
use evidence_snp::product_of_cpuid;

use crate::identity::{Identity, IdentityError};

/// Bytes of the answer to `SNP_PLATFORM_STATUS`.
pub const STATUS_SIZE: usize = 32;
/// Bytes of a chip's id, as the firmware gives it out.
pub const ID_SIZE: usize = 64;

/// Why the platform says nothing.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Another processor.
    #[error("the processor is not an EPYC 7003, 8004, 9004 or 9005 of AMD ({0})")]
    Cpu(String),
    /// The device is not there, or not ours to open.
    #[error("cannot open {path}")]
    Open {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The kernel or the firmware refuses.
    #[error("{command} failed (firmware status {firmware:#x})")]
    Command {
        /// Which request.
        command: &'static str,
        /// The status of the firmware; 0xffffffff if it was not asked.
        firmware: u32,
        /// What the kernel says.
        #[source]
        source: std::io::Error,
    },
    /// The answer does not name a key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What the firmware says of itself: `SNP_PLATFORM_STATUS` (AMD 56860, 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Major and minor version of the firmware's interface.
    pub api: (u8, u8),
    /// The firmware's build.
    pub build: u32,
    /// 0 uninitialized, 1 initialized, 2 running.
    pub state: u8,
    /// Whether the table of page owners is set up: without it there are no guests.
    pub rmp_initialized: bool,
    /// Whether reports leave out the chip's id.
    pub chip_id_masked: bool,
    /// Whether reports are not signed by a VCEK.
    pub chip_key_masked: bool,
    /// Whether a VLEK is loaded.
    pub vlek: bool,
    /// How many guests there are.
    pub guests: u32,
    /// The TCB that runs.
    pub current_tcb: [u8; 8],
    /// The TCB that reports state and keys are derived for.
    pub reported_tcb: [u8; 8],
}

impl Status {
    /// Reads the answer, whose fields are little-endian.
    #[must_use]
    pub fn parse(raw: &[u8; STATUS_SIZE]) -> Self {
        let [major, minor, state, rmp, b0, b1, b2, b3, flags, _, _, _, g0, g1, g2, g3, rest @ ..] =
            *raw;
        let [c0, c1, c2, c3, c4, c5, c6, c7, reported_tcb @ ..] = rest;
        Self {
            api: (major, minor),
            build: u32::from_le_bytes([b0, b1, b2, b3]),
            state,
            rmp_initialized: rmp & 1 != 0,
            chip_id_masked: flags & 1 != 0,
            chip_key_masked: flags & 2 != 0,
            vlek: flags & 4 != 0,
            guests: u32::from_le_bytes([g0, g1, g2, g3]),
            current_tcb: [c0, c1, c2, c3, c4, c5, c6, c7],
            reported_tcb,
        }
    }
}

/// What a machine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The family of processors.
    pub product: SnpProduct,
    /// The firmware's word.
    pub status: Status,
    /// The chip's id, followed by zeros where it is shorter.
    pub chip_id: [u8; ID_SIZE],
}

impl Platform {
    /// The key that reports are signed with: the VLEK if one is loaded, which guests get as long as they do
    /// not ask for the other.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn identity(&self, key: Option<SigningKey>) -> Result<Identity, IdentityError> {
        let loaded = if self.status.vlek { SigningKey::Vlek } else { SigningKey::Vcek };
        let key = key.unwrap_or(loaded);
        Identity::new(self.product, key, &self.chip_id, self.status.reported_tcb)
    }
}

/// Family and model in the words of `CPUID` leaf 1, `EAX` (AMD 24594): base and extended parts together. The
/// extended model also counts for family 6, which is Intel's.
#[must_use]
pub fn family_and_model(eax: u32) -> (u8, u8) {
    let part = |at: u32, bits: u32| (eax >> at & ((1 << bits) - 1)) as u8;
    let (base_family, extended_family) = (part(8, 4), part(20, 8));
    let (base_model, extended_model) = (part(4, 4), part(16, 4));
    match base_family {
        0xf => (base_family.wrapping_add(extended_family), extended_model << 4 | base_model),
        6 => (base_family, extended_model << 4 | base_model),
        _ => (base_family, base_model),
    }
}

/// The product that this processor is.
///
/// # Errors
///
/// [`DeviceError::Cpu`].
pub fn product() -> Result<SnpProduct, DeviceError> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        let vendor = __cpuid(0);
        let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat();
        let (family, model) = family_and_model(__cpuid(1).eax);
        match product_of_cpuid(family, model) {
            Some(product) if name == b"AuthenticAMD" => Ok(product),
            _ => {
                let name: String = String::from_utf8_lossy(&name).into_owned();
                Err(DeviceError::Cpu(format!("{name}, family {family:#x}, model {model:#x}")))
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (product_of_cpuid, family_and_model);
        Err(DeviceError::Cpu(std::env::consts::ARCH.to_owned()))
    }
}

/// Asks `/dev/sev`.
///
/// # Errors
///
/// [`DeviceError`].
#[cfg(target_os = "linux")]
pub fn platform() -> Result<Platform, DeviceError> {
    let product = product()?;
    let path = "/dev/sev";
    let device = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| DeviceError::Open { path: path.into(), source })?;
    let status = linux::status(&device)?;
    let chip_id = linux::chip_id(&device)?;
    Ok(Platform { product, status, chip_id })
}

/// Other systems have no `/dev/sev`.
///
/// # Errors
///
/// [`DeviceError`].
#[cfg(not(target_os = "linux"))]
pub fn platform() -> Result<Platform, DeviceError> {
    product()?;
    Err(DeviceError::Open {
        path: "/dev/sev".into(),
        source: std::io::ErrorKind::Unsupported.into(),
    })
}

#[cfg(target_os = "linux")]
mod linux {
    //! The requests themselves.

    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    use super::{DeviceError, ID_SIZE, STATUS_SIZE, Status};

    /// `SEV_GET_ID2`.
    const GET_ID2: u32 = 8;
    /// `SNP_PLATFORM_STATUS`.
    const PLATFORM_STATUS: u32 = 9;
    /// `SEV_ISSUE_CMD`: `_IOWR('S', 0, struct sev_issue_cmd)`, which has 16 bytes.
    const ISSUE_CMD: libc::c_ulong = 3 << 30 | 16 << 16 | (b'S' as libc::c_ulong) << 8;

    /// `struct sev_issue_cmd`.
    #[repr(C, packed)]
    struct IssueCmd {
        cmd: u32,
        data: u64,
        error: u32,
    }

    /// `struct sev_user_data_get_id2`.
    #[repr(C, packed)]
    struct GetId2 {
        address: u64,
        length: u32,
    }

    const _: () = assert!(size_of::<IssueCmd>() == 16 && size_of::<GetId2>() == 12);

    pub(super) fn status(device: &File) -> Result<Status, DeviceError> {
        let mut answer = [0_u8; STATUS_SIZE];
        // SAFETY: for this command the kernel reads nothing at the address and writes a
        // `struct sev_user_data_snp_status` there, which has 32 bytes, as many as `answer`; `answer` is
        // borrowed mutably until after the call.
        unsafe {
            issue(device, "SNP_PLATFORM_STATUS", PLATFORM_STATUS, answer.as_mut_ptr().cast())
        }?;
        Ok(Status::parse(&answer))
    }

    pub(super) fn chip_id(device: &File) -> Result<[u8; ID_SIZE], DeviceError> {
        let mut id = [0_u8; ID_SIZE];
        let mut request = GetId2 { address: id.as_mut_ptr() as u64, length: ID_SIZE as u32 };
        // SAFETY: for this command the kernel reads and writes a `struct sev_user_data_get_id2` at the
        // address, which `request` is, and writes at most `length` bytes at `request.address`, which are
        // those of `id`; both live, and are used by nobody else, until after the call.
        unsafe { issue(device, "SEV_GET_ID2", GET_ID2, (&raw mut request).cast()) }?;
        Ok(id)
    }

    /// # Safety
    ///
    /// `data` has to point to what the kernel reads and writes for `cmd`, and to nothing else that is in
    /// use.
    unsafe fn issue(
        device: &File,
        command: &'static str,
        cmd: u32,
        data: *mut libc::c_void,
    ) -> Result<(), DeviceError> {
        let mut request = IssueCmd { cmd, data: data as u64, error: u32::MAX };
        // SAFETY: the file descriptor is open as long as `device` is; the kernel reads and writes a
        // `struct sev_issue_cmd`, which `request` is; what it does at `data`, the caller vouches for. On
        // another device than `/dev/sev` the number means nothing, and the kernel refuses.
        let result = unsafe { libc::ioctl(device.as_raw_fd(), ISSUE_CMD as _, &raw mut request) };
        if result == 0 {
            return Ok(());
        }
        let source = io::Error::last_os_error();
        Err(DeviceError::Command { command, firmware: request.error, source })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_file_that_is_no_device_is_an_error() {
            let device = tempfile::tempfile().unwrap();
            assert!(matches!(status(&device), Err(DeviceError::Command { .. })));
            assert!(matches!(chip_id(&device), Err(DeviceError::Command { .. })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_told_apart() {
        let product = |eax| {
            let (family, model) = family_and_model(eax);
            product_of_cpuid(family, model)
        };
        assert_eq!(product(0x00a0_0f11), Some(SnpProduct::Milan));
        assert_eq!(product(0x00a1_0f11), Some(SnpProduct::Genoa));
        // Bergamo and Siena.
        assert_eq!(product(0x00aa_0f02), Some(SnpProduct::Genoa));
        assert_eq!(product(0x00b0_0f21), Some(SnpProduct::Turin));
        assert_eq!(product(0x00b1_0f10), Some(SnpProduct::Turin));
        // Rome, Naples, and two of Intel's.
        for other in [0x0083_0f10, 0x0080_0f12, 0x0006_06a6, 0x000a_06d1] {
            assert_eq!(product(other), None, "{other:#x}");
        }
        assert_eq!(family_and_model(0x00a0_0f11), (0x19, 0x01));
    }

    #[test]
    fn a_status_is_read_field_by_field() {
        let mut raw = [0; STATUS_SIZE];
        raw[..16].copy_from_slice(&[1, 55, 1, 1, 37, 0, 0, 0, 0b101, 0, 0, 0, 3, 0, 0, 0]);
        raw[16..24].copy_from_slice(&[4, 0, 0, 0, 0, 0, 24, 219]);
        raw[24..].copy_from_slice(&[3, 0, 0, 0, 0, 0, 20, 209]);
        let status = Status::parse(&raw);
        let expected = Status {
            api: (1, 55),
            build: 37,
            state: 1,
            rmp_initialized: true,
            chip_id_masked: true,
            chip_key_masked: false,
            vlek: true,
            guests: 3,
            current_tcb: [4, 0, 0, 0, 0, 0, 24, 219],
            reported_tcb: [3, 0, 0, 0, 0, 0, 20, 209],
        };
        assert_eq!(status, expected);
        let platform = Platform { product: SnpProduct::Milan, status, chip_id: [7; 64] };
        let identity = platform.identity(None).unwrap();
        assert_eq!((identity.key, identity.tcb.snp), (SigningKey::Vlek, 20));
        let identity = platform.identity(Some(SigningKey::Vcek)).unwrap();
        assert_eq!(identity.chip_id, [7; 64]);
    }
}
