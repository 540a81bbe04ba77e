// SPDX-License-Identifier: Apache-2.0

//! Device flows under way (RFC 8628).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::state::{Grant, random};

/// The most flows at one time.
const MAX_FLOWS: usize = 1000;

/// So many wrong passwords end a flow.
const MAX_ATTEMPTS: u32 = 5;

/// Letters of user codes: no vowels, so that there are no words (RFC 8628, §6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// What somebody decided.
enum Decision {
    Pending,
    Approved(String),
    Denied,
}

struct Flow {
    user_code: String,
    audience: String,
    scope: String,
    client: String,
    began: Instant,
    asked: Option<Instant>,
    interval: Duration,
    attempts: u32,
    decision: Decision,
}

/// What a device gets to hear when it asks.
pub(crate) enum Poll {
    Granted(Grant),
    /// One of the errors of RFC 8628, §3.5.
    Refused(&'static str),
}

/// All device flows.
pub(crate) struct Devices {
    lifetime: Duration,
    interval: Duration,
    flows: HashMap<String, Flow>,
}

impl Devices {
    pub(crate) fn new(lifetime: Duration, interval: Duration) -> Self {
        Self { lifetime, interval, flows: HashMap::new() }
    }

    /// Begins a flow: device code and user code; nothing if there are too many.
    pub(crate) fn begin(
        &mut self,
        client: &str,
        audience: String,
        scope: String,
        approve: Option<&str>,
    ) -> Option<(String, String)> {
        // Ended flows are remembered for a while, so that the device hears why.
        let keep = self.lifetime * 2;
        self.flows.retain(|_, flow| flow.began.elapsed() < keep);
        if self.flows.len() >= MAX_FLOWS {
            return None;
        }
        let (device_code, user_code) = (random(32), user_code());
        let decision = match approve {
            Some(user) => Decision::Approved(user.to_owned()),
            None => Decision::Pending,
        };
        let flow = Flow {
            user_code: user_code.clone(),
            audience,
            scope,
            client: client.to_owned(),
            began: Instant::now(),
            asked: None,
            interval: self.interval,
            attempts: 0,
            decision,
        };
        self.flows.insert(device_code.clone(), flow);
        Some((device_code, user_code))
    }

    /// A device asks.
    pub(crate) fn poll(&mut self, device_code: &str, client: &str) -> Poll {
        let Some(flow) = self.flows.get_mut(device_code).filter(|flow| flow.client == client)
        else {
            return Poll::Refused("invalid_grant");
        };
        if flow.began.elapsed() >= self.lifetime {
            return Poll::Refused("expired_token");
        }
        let early = flow.asked.is_some_and(|asked| asked.elapsed() < flow.interval);
        flow.asked = Some(Instant::now());
        if early {
            flow.interval += Duration::from_secs(5);
            return Poll::Refused("slow_down");
        }
        match &flow.decision {
            Decision::Pending => Poll::Refused("authorization_pending"),
            Decision::Denied => Poll::Refused("access_denied"),
            Decision::Approved(subject) => {
                let subject = subject.clone();
                match self.flows.remove(device_code) {
                    Some(Flow { audience, scope, client, .. }) => {
                        Poll::Granted(Grant { subject, audience, scope, client })
                    }
                    None => Poll::Refused("invalid_grant"),
                }
            }
        }
    }

    /// The flow that waits under this code: the client and the scopes that it asks for.
    pub(crate) fn waiting(&self, user_code: &str) -> Option<(&str, &str)> {
        let flow = self.flows.values().find(|flow| self.is_open(flow, user_code))?;
        Some((&flow.client, &flow.scope))
    }

    /// Approves a waiting flow for a person, or denies it; false if there is none.
    pub(crate) fn decide(&mut self, user_code: &str, user: Option<&str>) -> bool {
        self.change(user_code, |flow| {
            flow.decision = match user {
                Some(user) => Decision::Approved(user.to_owned()),
                None => Decision::Denied,
            };
        })
    }

    /// Notes a wrong password; after a few of them the flow is denied.
    pub(crate) fn failed(&mut self, user_code: &str) {
        self.change(user_code, |flow| {
            flow.attempts += 1;
            if flow.attempts >= MAX_ATTEMPTS {
                flow.decision = Decision::Denied;
            }
        });
    }

    fn change(&mut self, user_code: &str, change: impl FnOnce(&mut Flow)) -> bool {
        let found = self.flows.iter().find(|(_, flow)| self.is_open(flow, user_code));
        let Some(device_code) = found.map(|(device_code, _)| device_code.clone()) else {
            return false;
        };
        self.flows.get_mut(&device_code).map(change).is_some()
    }

    fn is_open(&self, flow: &Flow, user_code: &str) -> bool {
        // People type it as they like.
        let letters = |text: &str| -> String {
            text.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_uppercase()
        };
        matches!(flow.decision, Decision::Pending)
            && flow.began.elapsed() < self.lifetime
            && letters(&flow.user_code) == letters(user_code)
    }
}

/// Eight letters in two groups.
fn user_code() -> String {
    let mut code = String::new();
    while code.len() < 9 {
        let mut byte = [0];
        // 240 is the greatest multiple of 20: above it, some letters would come more often.
        if aws_lc_rs::rand::fill(&mut byte).is_err() || byte[0] >= 240 {
            continue;
        }
        if code.len() == 4 {
            code.push('-');
        }
        code.push(char::from(LETTERS[usize::from(byte[0] % 20)]));
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(devices: &mut Devices) -> (String, String) {
        devices.begin("enarx", "audience".into(), "openid".into(), None).unwrap()
    }

    fn refusal(poll: Poll) -> &'static str {
        match poll {
            Poll::Refused(error) => error,
            Poll::Granted(grant) => panic!("{grant:?}"),
        }
    }

    #[test]
    fn a_device_code_counts_once_and_for_its_client() {
        let mut devices = Devices::new(Duration::from_secs(60), Duration::ZERO);
        let (device, user) = begin(&mut devices);
        assert_eq!(refusal(devices.poll(&device, "enarx")), "authorization_pending");
        assert!(devices.decide(&user.to_lowercase().replace('-', " "), Some("alice")));
        assert_eq!(refusal(devices.poll(&device, "other")), "invalid_grant");
        assert!(
            matches!(devices.poll(&device, "enarx"), Poll::Granted(grant) if grant.subject == "alice")
        );
        assert_eq!(refusal(devices.poll(&device, "enarx")), "invalid_grant");
    }

    #[test]
    fn whoever_asks_too_often_is_told() {
        let mut devices = Devices::new(Duration::from_secs(60), Duration::from_secs(50));
        let (device, _) = begin(&mut devices);
        assert_eq!(refusal(devices.poll(&device, "enarx")), "authorization_pending");
        assert_eq!(refusal(devices.poll(&device, "enarx")), "slow_down");
    }

    #[test]
    fn flows_end() {
        let mut devices = Devices::new(Duration::ZERO, Duration::ZERO);
        let (device, user) = begin(&mut devices);
        assert_eq!(refusal(devices.poll(&device, "enarx")), "expired_token");
        assert!(!devices.decide(&user, Some("alice")));
    }

    #[test]
    fn guessing_ends_a_flow() {
        let mut devices = Devices::new(Duration::from_secs(60), Duration::ZERO);
        let (device, user) = begin(&mut devices);
        for _ in 0..MAX_ATTEMPTS {
            assert!(devices.waiting(&user).is_some());
            devices.failed(&user);
        }
        assert!(!devices.decide(&user, Some("alice")));
        assert_eq!(refusal(devices.poll(&device, "enarx")), "access_denied");
    }

    #[test]
    fn there_is_a_limit() {
        let mut devices = Devices::new(Duration::from_secs(60), Duration::ZERO);
        for _ in 0..MAX_FLOWS {
            begin(&mut devices);
        }
        assert!(devices.begin("enarx", String::new(), String::new(), None).is_none());
    }
}
