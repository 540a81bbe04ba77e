// SPDX-License-Identifier: Apache-2.0

//! The driver's side of an enclave: loading it page by page, and changing its pages while it runs.
//!
//! A plan of `sgx-launch` is handed over in its order, so the processor measures what was measured offline.
//! Ranges are done in parts: the driver counts how much it has done, and `EAGAIN` and `EINTR` ask to go on from
//! there (`include/uapi/asm/sgx.h`). Who makes requests is behind [`Device`], so that everything else runs in
//! tests, where the measurement of what was handed over has to be the plan's.

use std::io;

use sgx_guest::page::{PAGE, PageType, Rights, SecInfo};
use sgx_launch::{Content, Plan, Region, Secs, Sink, driver};

/// Bytes that go through a staging area at a time.
pub(crate) const STAGING: usize = 2 << 20;

/// Requests in a row without any progress after which it is given up.
const PATIENCE: u32 = 10_000;

/// How far a request got, and how it ended.
pub(crate) type Done = (u64, io::Result<()>);

/// Makes requests of the driver. Offsets are from the enclave's base.
pub(crate) trait Device {
    /// `ECREATE`.
    fn create(&mut self, secs: &[u8; Secs::SIZE]) -> io::Result<()>;

    /// Where content has to be when it is handed over: [`STAGING`] bytes that begin on a page.
    fn staging(&mut self) -> &mut [u8];

    /// `EADD` of the first `length` bytes of the staging area from `from` on, with `EEXTEND` if measured.
    fn add(&mut self, offset: u64, from: u64, length: u64, info: &SecInfo, measured: bool) -> Done;

    /// `EINIT`.
    fn init(&mut self, signature: &[u8]) -> io::Result<()>;

    /// `EMODPR`.
    fn restrict(&mut self, offset: u64, length: u64, rights: Rights) -> Done;

    /// `EMODT` to `PT_TRIM`.
    fn trim(&mut self, offset: u64, length: u64) -> Done;

    /// `EREMOVE`.
    fn remove(&mut self, offset: u64, length: u64) -> Done;
}

/// Why an enclave is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot create the enclave: {0}")]
    Create(io::Error),
    #[error("cannot add pages to the enclave at {at:#x}: {source}")]
    Add { at: u64, source: io::Error },
    #[error("the processor refuses the enclave's signature: {0}")]
    Init(io::Error),
}

/// Loads a plan and lets it run.
pub(crate) fn load<D: Device>(
    device: &mut D,
    plan: &Plan<'_>,
    signature: &[u8],
) -> Result<(), LoadError> {
    plan.load(&mut Loader { device })?;
    device.init(signature).map_err(LoadError::Init)
}

struct Loader<'a, D> {
    device: &'a mut D,
}

impl<D: Device> Sink for Loader<'_, D> {
    type Error = LoadError;

    fn create(&mut self, secs: &Secs) -> Result<(), LoadError> {
        self.device.create(&secs.to_bytes()).map_err(LoadError::Create)
    }

    fn add(&mut self, page: &sgx_launch::Page<'_>) -> Result<(), LoadError> {
        let content = Content::Bytes(page.bytes);
        let &sgx_launch::Page { offset, info, measured, .. } = page;
        self.region(&Region { offset, info, content, measured })
    }

    fn region(&mut self, region: &Region<'_>) -> Result<(), LoadError> {
        let length = region.content.len();
        for start in (0..length).step_by(STAGING) {
            let part = (length - start).min(STAGING as u64);
            let staging = self.device.staging();
            match region.content {
                Content::Bytes(bytes) => {
                    let bytes = bytes.get(start as usize..).unwrap_or_default();
                    staging.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                }
                Content::Zeros(_) => staging.iter_mut().take(part as usize).for_each(|to| *to = 0),
            }
            let at = region.offset + start;
            whole(part, |done, left| {
                self.device.add(at + done, done, left, &region.info, region.measured)
            })
            .map_err(|source| LoadError::Add { at, source })?;
        }
        Ok(())
    }
}

/// Requests parts of a range until all of it is done.
fn whole(length: u64, mut part: impl FnMut(u64, u64) -> Done) -> io::Result<()> {
    let mut done = 0;
    let mut patience = PATIENCE;
    while done < length {
        let (count, result) = part(done, length - done);
        if count > length - done || !count.is_multiple_of(PAGE) {
            return Err(io::Error::other("the driver did more than it was asked for"));
        }
        done += count;
        match result {
            Ok(()) if count > 0 => patience = PATIENCE,
            Ok(()) => patience -= 1,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {
                patience = if count > 0 { PATIENCE } else { patience - 1 };
            }
            Err(error) => return Err(error),
        }
        if patience == 0 {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
    }
    Ok(())
}

/// What a running enclave may ask to have done to its pages; see [`change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Restrict(Rights),
    Trim,
    Remove,
}

/// Changes pages of a running enclave: 0, or an error number for it.
pub(crate) fn change<D: Device>(
    device: &mut D,
    address: u64,
    length: u64,
    size: u64,
    change: Change,
) -> u64 {
    let whole_pages = address.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) && length != 0;
    if !whole_pages || address.checked_add(length).is_none_or(|end| end > size) {
        return libc::EINVAL as u64;
    }
    // The enclave begins at address 0, so that addresses are offsets.
    const { assert!(sgx_launch::image::BASE == 0) };
    let result = whole(length, |done, left| match change {
        Change::Restrict(rights) => device.restrict(address + done, left, rights),
        Change::Trim => device.trim(address + done, left),
        Change::Remove => device.remove(address + done, left),
    });
    match result {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO).cast_unsigned().into(),
    }
}

/// The real one.
pub(crate) mod linux {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    /// An enclave's descriptor, and a staging area.
    pub(crate) struct Enclave {
        file: File,
        staging: Box<Aligned>,
    }

    /// Begins on a page.
    #[repr(C, align(4096))]
    struct Aligned([u8; STAGING]);

    impl Enclave {
        pub(crate) fn open() -> io::Result<Self> {
            let file = File::options().read(true).write(true).open(driver::DEVICE)?;
            // In its final place at once: it is larger than some stacks.
            let staging = Box::<Aligned>::new_uninit();
            // SAFETY: bytes, for which zeros are a value; the allocation is as large and as aligned as the type.
            let staging = unsafe {
                let mut staging = staging;
                staging.as_mut_ptr().write_bytes(0, 1);
                staging.assume_init()
            };
            Ok(Self { file, staging })
        }

        pub(crate) fn file(&self) -> &File {
            &self.file
        }

        /// # Safety
        ///
        /// `argument` is what the driver reads and writes for the request, addresses in it included.
        unsafe fn request<T>(&self, request: u32, argument: *mut T) -> io::Result<()> {
            // SAFETY: the descriptor is open; for the rest the caller vouches. Other devices than an enclave's
            // do not know the requests.
            let result = unsafe { libc::ioctl(self.file.as_raw_fd(), request.into(), argument) };
            match result {
                0 => Ok(()),
                // `EINIT`'s own error numbers, where the driver passes them on.
                1.. => Err(io::Error::from_raw_os_error(libc::EPERM)),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    impl Device for Enclave {
        fn create(&mut self, secs: &[u8; Secs::SIZE]) -> io::Result<()> {
            let Some(to) = self.staging.0.first_chunk_mut() else { return Ok(()) };
            *to = *secs;
            let mut argument = driver::Create { src: self.staging.0.as_ptr() as u64 };
            // SAFETY: the driver reads a page at `src`, where the SECS is, until after the call.
            unsafe { self.request(driver::CREATE, &raw mut argument) }
        }

        fn staging(&mut self) -> &mut [u8] {
            &mut self.staging.0
        }

        fn add(
            &mut self,
            offset: u64,
            from: u64,
            length: u64,
            info: &SecInfo,
            measured: bool,
        ) -> Done {
            let info = info.to_bytes();
            if from.checked_add(length).is_none_or(|end| end > STAGING as u64) {
                return (0, Err(io::ErrorKind::InvalidInput.into()));
            }
            let mut argument = driver::AddPages {
                src: self.staging.0.as_ptr() as u64 + from,
                offset,
                length,
                secinfo: info.as_ptr() as u64,
                flags: if measured { driver::MEASURE } else { 0 },
                count: 0,
            };
            // SAFETY: the driver reads `length` bytes at `src`, which lie in the staging area as was just checked,
            // and a SECINFO of 64 bytes, which `info` is; both live until after the call.
            let result = unsafe { self.request(driver::ADD_PAGES, &raw mut argument) };
            (argument.count, result)
        }

        fn init(&mut self, signature: &[u8]) -> io::Result<()> {
            let Some(to) = self.staging.0.get_mut(..signature.len()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            to.copy_from_slice(signature);
            let mut argument = driver::Init { sigstruct: self.staging.0.as_ptr() as u64 };
            // SAFETY: the driver reads a SIGSTRUCT (1808 bytes) at the address, which the staging area has room
            // for, until after the call.
            unsafe { self.request(driver::INIT, &raw mut argument) }
        }

        fn restrict(&mut self, offset: u64, length: u64, rights: Rights) -> Done {
            let permissions = rights.bits();
            let mut argument =
                driver::RestrictPermissions { offset, length, permissions, ..Default::default() };
            // SAFETY: there are no addresses in it but those of the enclave, which the driver checks.
            let result = unsafe { self.request(driver::RESTRICT_PERMISSIONS, &raw mut argument) };
            (argument.count, result)
        }

        fn trim(&mut self, offset: u64, length: u64) -> Done {
            let page_type = PageType::Trim as u64;
            let mut argument =
                driver::ModifyTypes { offset, length, page_type, ..Default::default() };
            // SAFETY: as in `restrict`.
            let result = unsafe { self.request(driver::MODIFY_TYPES, &raw mut argument) };
            (argument.count, result)
        }

        fn remove(&mut self, offset: u64, length: u64) -> Done {
            let mut argument = driver::RemovePages { offset, length, count: 0 };
            // SAFETY: as in `restrict`.
            let result = unsafe { self.request(driver::REMOVE_PAGES, &raw mut argument) };
            (argument.count, result)
        }
    }
}

#[cfg(test)]
mod tests {
    use keep_image::Image;
    use sgx_launch::image::{Enclave, SIZE};
    use sgx_launch::{Measurer, Page};

    use super::*;

    /// A driver that measures what it is given, a few pages at a time.
    struct Player {
        staging: Vec<u8>,
        secs: Option<Secs>,
        pages: Vec<(u64, SecInfo, Vec<u8>, bool)>,
        calls: u32,
        /// Pages of a request that are done at a time; 0 is none, ever.
        stride: u64,
        /// What the requests on running enclaves end with.
        errno: i32,
        asked: Vec<(u64, u64)>,
    }

    impl Player {
        fn new(stride: u64) -> Self {
            let (staging, secs, pages) = (vec![0xee; STAGING], None, Vec::new());
            Self { staging, secs, pages, calls: 0, stride, errno: 0, asked: Vec::new() }
        }

        fn part(&mut self, offset: u64, length: u64) -> Done {
            self.calls += 1;
            if self.errno != 0 {
                return (0, Err(io::Error::from_raw_os_error(self.errno)));
            }
            let count = length.min(self.stride * PAGE);
            self.asked.push((offset, count));
            // Now and then it wants to be asked again.
            let again = self.calls.is_multiple_of(3);
            let error = io::Error::from_raw_os_error(libc::EAGAIN);
            (count, if again { Err(error) } else { Ok(()) })
        }
    }

    impl Device for Player {
        fn create(&mut self, secs: &[u8; Secs::SIZE]) -> io::Result<()> {
            self.secs = Secs::from_bytes(secs);
            Ok(())
        }

        fn staging(&mut self) -> &mut [u8] {
            &mut self.staging
        }

        fn add(
            &mut self,
            offset: u64,
            from: u64,
            length: u64,
            info: &SecInfo,
            measured: bool,
        ) -> Done {
            let (count, result) = self.part(offset, length);
            let bytes = &self.staging[from as usize..(from + count) as usize];
            for (number, page) in bytes.chunks(PAGE as usize).enumerate() {
                self.pages.push((offset + number as u64 * PAGE, *info, page.to_vec(), measured));
            }
            (count, result)
        }

        fn init(&mut self, signature: &[u8]) -> io::Result<()> {
            match signature {
                [] => Err(io::Error::from_raw_os_error(libc::EPERM)),
                _ => Ok(()),
            }
        }

        fn restrict(&mut self, offset: u64, length: u64, _: Rights) -> Done {
            self.part(offset, length)
        }

        fn trim(&mut self, offset: u64, length: u64) -> Done {
            self.part(offset, length)
        }

        fn remove(&mut self, offset: u64, length: u64) -> Done {
            self.part(offset, length)
        }
    }

    #[test]
    fn what_is_handed_over_measures_like_the_plan() {
        let image = Image::decode(keep_programs::RUNTIME_IMAGE).unwrap();
        let enclave = Enclave::new(&image);
        let plan = enclave.plan([9; 64]).unwrap();
        for stride in [1, 7, u64::MAX / PAGE] {
            let mut player = Player::new(stride);
            load(&mut player, &plan, &[1]).unwrap();
            let mut measurer = Measurer::default();
            let Ok(()) = measurer.create(&player.secs.unwrap());
            for (offset, info, bytes, measured) in &player.pages {
                let bytes = bytes.as_slice().try_into().unwrap();
                let page = Page { offset: *offset, info: *info, bytes, measured: *measured };
                let Ok(()) = measurer.add(&page);
            }
            assert_eq!(measurer.mrenclave(), plan.measure(), "{stride}");
            assert_eq!(player.secs.unwrap().config_id, [9; 64]);
        }
    }

    #[test]
    fn a_launch_that_gets_nowhere_ends() {
        let image = Image::decode(keep_programs::RUNTIME_IMAGE).unwrap();
        let enclave = Enclave::new(&image);
        let plan = enclave.plan([0; 64]).unwrap();
        let idle = load(&mut Player::new(0), &plan, &[1]).unwrap_err();
        assert!(matches!(&idle, LoadError::Add { .. }), "{idle}");
        let full = load(&mut Player { errno: libc::ENOMEM, ..Player::new(1) }, &plan, &[1]);
        assert!(matches!(full, Err(LoadError::Add { .. })));
        let refused = load(&mut Player::new(99), &plan, &[]).unwrap_err();
        assert!(refused.to_string().contains("signature"), "{refused}");
    }

    #[test]
    fn ranges_of_a_running_enclave_are_bounded() {
        let einval = libc::EINVAL as u64;
        for (address, length) in
            [(1, PAGE), (0, 1), (0, 0), (SIZE, PAGE), (SIZE - PAGE, 2 * PAGE), (!0xfff, PAGE)]
        {
            let mut player = Player::new(1);
            assert_eq!(change(&mut player, address, length, SIZE, Change::Trim), einval);
            assert!(player.asked.is_empty());
        }
        let mut player = Player::new(2);
        assert_eq!(change(&mut player, PAGE, 5 * PAGE, SIZE, Change::Restrict(Rights::R)), 0);
        assert_eq!(player.asked, [(PAGE, 2 * PAGE), (3 * PAGE, 2 * PAGE), (5 * PAGE, PAGE)]);
        // What the enclave did not accept is refused, and it hears of it.
        let mut player = Player { errno: libc::EPERM, ..Player::new(1) };
        assert_eq!(change(&mut player, 0, PAGE, SIZE, Change::Remove), libc::EPERM as u64);
    }

    #[test]
    fn requests_are_the_kernel_s() {
        // As `asm/sgx.h` defines them: _IOW and _IOWR of 0xa4.
        let numbers = [
            driver::CREATE,
            driver::ADD_PAGES,
            driver::INIT,
            driver::RESTRICT_PERMISSIONS,
            driver::MODIFY_TYPES,
            driver::REMOVE_PAGES,
        ];
        let expected =
            [0x4008_a400, 0xc030_a401, 0x4008_a402, 0xc028_a405, 0xc028_a406, 0xc018_a407];
        assert_eq!(numbers, expected);
    }
}
