// SPDX-License-Identifier: Apache-2.0

//! `wasi:sockets/udp` and `udp-create-socket`: there is no UDP.
//!
//! Datagrams would leave the Keep as they are, and nothing here could say who answers. The
//! interfaces exist, because the standard libraries of many languages import them whether they are
//! used or not; to make a socket is refused, so that nothing else can ever be called.

use std::convert::Infallible;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasmtime_wasi::p2::{DynPollable, Network, SocketResult};

use super::SocketsView;
use super::bindings::udp::{
    Host, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagram,
    OutgoingDatagram,
};
use super::bindings::udp_create_socket;

/// The resources `udp-socket`, `incoming-datagram-stream` and `outgoing-datagram-stream`, none of
/// which ever exists.
#[allow(unreachable_pub, reason = "generated code names it as if it were public")]
#[derive(Debug)]
pub struct Datagrams(Infallible);

impl Host for SocketsView<'_> {}

impl udp_create_socket::Host for SocketsView<'_> {
    fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<Datagrams>> {
        Err(ErrorCode::AccessDenied.into())
    }
}

impl SocketsView<'_> {
    /// A handle that a component holds is one that was given to it; there are none.
    fn none<T>(&mut self, this: &Resource<Datagrams>) -> SocketResult<T> {
        match self.table.get(this)?.0 {}
    }

    fn pollable(&mut self, this: &Resource<Datagrams>) -> wasmtime::Result<Resource<DynPollable>> {
        match self.table.get(this)?.0 {}
    }

    fn gone(&mut self, this: Resource<Datagrams>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl HostUdpSocket for SocketsView<'_> {
    fn start_bind(
        &mut self,
        this: Resource<Datagrams>,
        _: Resource<Network>,
        _: IpSocketAddress,
    ) -> SocketResult<()> {
        self.none(&this)
    }

    fn finish_bind(&mut self, this: Resource<Datagrams>) -> SocketResult<()> {
        self.none(&this)
    }

    fn stream(
        &mut self,
        this: Resource<Datagrams>,
        _: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<Datagrams>, Resource<Datagrams>)> {
        self.none(&this)
    }

    fn local_address(&mut self, this: Resource<Datagrams>) -> SocketResult<IpSocketAddress> {
        self.none(&this)
    }

    fn remote_address(&mut self, this: Resource<Datagrams>) -> SocketResult<IpSocketAddress> {
        self.none(&this)
    }

    fn address_family(&mut self, this: Resource<Datagrams>) -> wasmtime::Result<IpAddressFamily> {
        match self.table.get(&this)?.0 {}
    }

    fn unicast_hop_limit(&mut self, this: Resource<Datagrams>) -> SocketResult<u8> {
        self.none(&this)
    }

    fn set_unicast_hop_limit(&mut self, this: Resource<Datagrams>, _: u8) -> SocketResult<()> {
        self.none(&this)
    }

    fn receive_buffer_size(&mut self, this: Resource<Datagrams>) -> SocketResult<u64> {
        self.none(&this)
    }

    fn set_receive_buffer_size(&mut self, this: Resource<Datagrams>, _: u64) -> SocketResult<()> {
        self.none(&this)
    }

    fn send_buffer_size(&mut self, this: Resource<Datagrams>) -> SocketResult<u64> {
        self.none(&this)
    }

    fn set_send_buffer_size(&mut self, this: Resource<Datagrams>, _: u64) -> SocketResult<()> {
        self.none(&this)
    }

    fn subscribe(&mut self, this: Resource<Datagrams>) -> wasmtime::Result<Resource<DynPollable>> {
        self.pollable(&this)
    }

    fn drop(&mut self, this: Resource<Datagrams>) -> wasmtime::Result<()> {
        self.gone(this)
    }
}

impl HostIncomingDatagramStream for SocketsView<'_> {
    fn receive(
        &mut self,
        this: Resource<Datagrams>,
        _: u64,
    ) -> SocketResult<Vec<IncomingDatagram>> {
        self.none(&this)
    }

    fn subscribe(&mut self, this: Resource<Datagrams>) -> wasmtime::Result<Resource<DynPollable>> {
        self.pollable(&this)
    }

    fn drop(&mut self, this: Resource<Datagrams>) -> wasmtime::Result<()> {
        self.gone(this)
    }
}

impl HostOutgoingDatagramStream for SocketsView<'_> {
    fn check_send(&mut self, this: Resource<Datagrams>) -> SocketResult<u64> {
        self.none(&this)
    }

    fn send(&mut self, this: Resource<Datagrams>, _: Vec<OutgoingDatagram>) -> SocketResult<u64> {
        self.none(&this)
    }

    fn subscribe(&mut self, this: Resource<Datagrams>) -> wasmtime::Result<Resource<DynPollable>> {
        self.pollable(&this)
    }

    fn drop(&mut self, this: Resource<Datagrams>) -> wasmtime::Result<()> {
        self.gone(this)
    }
}
