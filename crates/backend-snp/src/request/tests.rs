// SPDX-License-Identifier: Apache-2.0

//! A kernel and a firmware that measure what they are given, and are as obstinate as they may be.

use keep_image::Image;
use snp_guest::cpuid::{Answer, Entry, Table};
use snp_launch::{LaunchDigest, Options, SignedId};

use super::*;

struct Area(Vec<u8>);

impl Staging for Area {
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// What goes wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Willing,
    /// Does one page of each request, and asks to be asked again now and then.
    Slow,
    /// Corrects the CPUID page once.
    Corrects,
    /// Corrects it again and again.
    Insists,
    /// Never gets anywhere.
    Idle,
    /// Says it is done with what it was not given.
    Liar,
    /// Refuses the ID block.
    Strict,
}

struct Player {
    mood: Mood,
    calls: u32,
    digest: LaunchDigest,
    started: Option<kvm_sev_snp_launch_start>,
    finished: Option<kvm_sev_snp_launch_finish>,
    cpuid: Vec<u8>,
}

impl Player {
    fn new(mood: Mood) -> Self {
        let digest = LaunchDigest::default();
        Self { mood, calls: 0, digest, started: None, finished: None, cpuid: Vec::new() }
    }

    fn failure(status: u32, errno: i32) -> Failure {
        Failure { status, source: io::Error::from_raw_os_error(errno) }
    }
}

impl Firmware for Player {
    type Staging = Area;

    fn start(&mut self, request: &mut kvm_sev_snp_launch_start) -> Result<(), Failure> {
        self.calls += 1;
        if self.mood == Mood::Slow && self.calls < 3 {
            return Err(Self::failure(NOT_ASKED, libc::EINTR));
        }
        assert!(self.started.is_none());
        self.started = Some(*request);
        Ok(())
    }

    fn update(
        &mut self,
        request: &mut kvm_sev_snp_launch_update,
        staging: &mut Area,
    ) -> Result<(), Failure> {
        assert!(self.started.is_some() && self.finished.is_none());
        self.calls += 1;
        if self.mood == Mood::Idle {
            return Ok(());
        }
        if self.mood == Mood::Slow && self.calls.is_multiple_of(7) {
            return Err(Self::failure(NOT_ASKED, libc::EAGAIN));
        }
        let length = if self.mood == Mood::Slow { PAGE as u64 } else { request.len };
        let at = usize::try_from(request.uaddr).unwrap();
        let address = request.gfn_start * PAGE as u64;
        let pages = |staging: &Area| staging.0[at..at + length as usize].to_vec();
        match request.type_ {
            1 => self.digest.update(address, &Update::Normal(&pages(staging))),
            3 => self.digest.update(address, &Update::Zero(length)),
            5 => self.digest.update(address, &Update::Secrets),
            6 => {
                let mut page: [u8; PAGE] = pages(staging).try_into().unwrap();
                let again = self.mood == Mood::Insists || self.cpuid.is_empty();
                if again && matches!(self.mood, Mood::Corrects | Mood::Insists) {
                    // The last byte of the first answer.
                    page[0x10 + 0x27] ^= 1;
                    self.cpuid = page.to_vec();
                    staging.0[at..at + PAGE].copy_from_slice(&page);
                    return Err(Self::failure(INVALID_PARAM, libc::EIO));
                }
                if self.mood == Mood::Corrects {
                    assert_eq!(self.cpuid, page, "what it proposed");
                }
                self.digest.update(address, &Update::Cpuid)
            }
            other => panic!("page type {other}"),
        }
        .unwrap();
        request.gfn_start += length / PAGE as u64;
        request.len -= length;
        if request.type_ != 3 {
            request.uaddr += length;
        }
        if self.mood == Mood::Liar {
            request.len += PAGE as u64;
        }
        Ok(())
    }

    fn finish(
        &mut self,
        request: &mut kvm_sev_snp_launch_finish,
        id: Option<&SignedId>,
    ) -> Result<(), Failure> {
        assert_eq!(request.id_block_en == 1, id.is_some());
        if self.mood == Mood::Strict {
            return Err(Self::failure(0x0b, libc::EIO));
        }
        self.finished = Some(*request);
        Ok(())
    }
}

/// The digest without the states of processors, which KVM adds.
fn expected(plan: &Plan) -> LaunchDigest {
    let mut digest = LaunchDigest::default();
    for (address, update) in plan.parts() {
        if !matches!(update, Update::Vmsa(_)) {
            digest.update(address, &update).unwrap();
        }
    }
    digest
}

fn cpuid() -> Box<[u8; PAGE]> {
    let answer = Answer { eax: 1, ebx: 2, ecx: 3, edx: 4 };
    snp_launch::cpuid_page([Entry { function: 1, answer, ..Entry::default() }]).unwrap()
}

fn plan() -> Plan {
    let image = Image::decode(keep_programs::RUNTIME_IMAGE).unwrap();
    Plan::new(&image, Options::default()).unwrap()
}

fn run(mood: Mood) -> (Player, Result<Done, LaunchError>) {
    let mut player = Player::new(mood);
    let mut area = Area(vec![0xaa; STAGING]);
    let parameters = Parameters::new([7; 32]);
    let done = launch(&mut player, &mut area, &plan(), &cpuid(), &parameters);
    (player, done)
}

#[test]
fn what_is_handed_over_measures_like_the_plan() {
    let expected = expected(&plan());
    for mood in [Mood::Willing, Mood::Slow, Mood::Corrects] {
        let (player, done) = run(mood);
        assert_eq!(done.unwrap(), Done { corrected: mood == Mood::Corrects });
        assert_eq!(player.digest, expected, "{mood:?}");
        let start = player.started.unwrap();
        assert_eq!((start.policy, start.flags), (0x30133, 0));
        let finish = player.finished.unwrap();
        assert_eq!((finish.host_data, finish.id_block_en, finish.auth_key_en), ([7; 32], 0, 0));
        assert_eq!((finish.flags, finish.vcek_disabled), (0, 0));
    }
}

#[test]
fn obstinacy_ends_a_launch() {
    let text = |mood| run(mood).1.unwrap_err().to_string();
    assert!(text(Mood::Idle).contains("does not get on"), "{}", text(Mood::Idle));
    assert!(text(Mood::Liar).contains("range that it was not given"), "{}", text(Mood::Liar));
    let refused = text(Mood::Insists);
    assert!(refused.contains("a parameter is wrong, 0x16"), "{refused}");
    let refused = text(Mood::Strict);
    assert!(refused.contains("FINISH failed (firmware: the measurement is not"), "{refused}");
}

#[test]
fn numbers_and_structures_are_the_kernel_s() {
    use kvm_bindings as kvm;
    assert_eq!(size_of::<kvm::kvm_sev_init>(), 48);
    assert_eq!(size_of::<kvm_sev_snp_launch_start>(), 64);
    assert_eq!(size_of::<kvm_sev_snp_launch_update>(), 64);
    assert_eq!(size_of::<kvm_sev_snp_launch_finish>(), 88);
    let ids = [
        kvm::sev_cmd_id_KVM_SEV_INIT2,
        kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_START,
        kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE,
        kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH,
    ];
    assert_eq!(ids, [22, 100, 101, 102]);
    let types = [
        PageType::Normal,
        PageType::Zero,
        PageType::Unmeasured,
        PageType::Secrets,
        PageType::Cpuid,
    ];
    assert_eq!(types.map(|kind| kind as u8), [1, 3, 4, 5, 6]);
}

#[test]
fn a_table_that_is_corrected_is_still_a_table() {
    assert!(Table::new(&cpuid()).is_ok());
}
