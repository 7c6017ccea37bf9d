//! The transport to one resolver: hickory's pool, over UDP, and over TCP when the answer is truncated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::RetryDnsHandle;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

/// How often a query is sent.
pub(super) const ATTEMPTS: u32 = 2;

pub(super) type Client = RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>;

/// A client of `address` that waits `attempt` for each attempt.
pub(super) fn client(address: SocketAddr, attempt: Duration) -> Result<Client, NetError> {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
    let config = NameServerConfig::new(address.ip(), true, connections);
    let mut options = ResolverOpts::default();
    options.timeout = attempt;
    options.case_randomization = true;
    let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
    let pool = NameServerPool::from_config([config], context, TokioRuntimeProvider::default());
    let again = usize::try_from(ATTEMPTS.saturating_sub(1)).unwrap_or_default();
    Ok(RetryDnsHandle::new(pool, again))
}
