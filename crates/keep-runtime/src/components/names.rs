// SPDX-License-Identifier: Apache-2.0

//! `wasi:sockets/ip-name-lookup`: only names that Enarx.toml has, and what they lead to is kept.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use keep_net::NetError;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, Pollable, SocketResult, subscribe};
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;

use super::bindings::ip_name_lookup::{Host, HostResolveAddressStream};
use super::{SocketsView, warn};

type Addresses = Result<std::vec::IntoIter<IpAddr>, ErrorCode>;

/// The resource `resolve-address-stream`.
#[allow(unreachable_pub, reason = "generated code names it as if it were public")]
#[derive(Debug)]
pub enum Addressing {
    Asking(AbortOnDropJoinHandle<Addresses>),
    Known(Addresses),
}

impl Host for SocketsView<'_> {
    fn resolve_addresses(
        &mut self,
        _: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<Addressing>> {
        let literal = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(&name);
        if let Ok(address) = literal.parse::<IpAddr>() {
            // Nobody is asked, so nothing is told.
            return Ok(self.table.push(Addressing::Known(Ok(vec![address].into_iter())))?);
        }
        let net = self.net.clone().ok_or(ErrorCode::AccessDenied)?;
        let Some(name) = net.policy.name(&name).map(str::to_owned) else {
            warn(&format!("the name {name:?} was not resolved: Enarx.toml does not have it"));
            return Err(ErrorCode::AccessDenied.into());
        };
        let asking = async move {
            match net.net.resolve(&name).await {
                Ok(addresses) => {
                    net.policy.learn(&name, &addresses);
                    Ok(addresses.into_iter())
                }
                Err(NetError::Timeout { .. }) => Err(ErrorCode::TemporaryResolverFailure),
                Err(_) => Err(ErrorCode::NameUnresolvable),
            }
        };
        let asking = Addressing::Asking(wasmtime_wasi::runtime::spawn(asking));
        Ok(self.table.push(asking)?)
    }
}

impl HostResolveAddressStream for SocketsView<'_> {
    fn resolve_next_address(
        &mut self,
        this: Resource<Addressing>,
    ) -> SocketResult<Option<IpAddress>> {
        let this = self.table.get_mut(&this)?;
        if let Addressing::Asking(asking) = this {
            match Pin::new(asking).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(known) => *this = Addressing::Known(known),
                Poll::Pending => return Err(ErrorCode::WouldBlock.into()),
            }
        }
        match this {
            Addressing::Known(Ok(addresses)) => Ok(addresses.next().map(IpAddress::from)),
            Addressing::Known(Err(code)) => Err((*code).into()),
            Addressing::Asking(_) => Err(ErrorCode::WouldBlock.into()),
        }
    }

    fn subscribe(&mut self, this: Resource<Addressing>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn drop(&mut self, this: Resource<Addressing>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

#[async_trait]
impl Pollable for Addressing {
    async fn ready(&mut self) {
        if let Self::Asking(asking) = self {
            let known = asking.await;
            *self = Self::Known(known);
        }
    }
}
