//! A TCP proxy on loopback that can cut what goes through it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

/// Forwards connections to a target.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    end: CancellationToken,
}

struct Shared {
    target: Mutex<SocketAddr>,
    /// The connections since the last cut end with these.
    near: Mutex<CancellationToken>,
    far: Mutex<CancellationToken>,
}

impl Proxy {
    /// A proxy before `target`.
    pub(crate) fn new(target: SocketAddr) -> Self {
        let (near, far) = Default::default();
        let shared = Arc::new(Shared { target: Mutex::new(target), near, far });
        let end = CancellationToken::new();
        let (forwarding, ending) = (Arc::clone(&shared), end.clone());
        let (bound, binding) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                ending.run_until_cancelled(accept(&listener, &forwarding)).await
            })
        });
        Self { address: binding.recv().unwrap(), shared, end }
    }

    /// Sends later connections elsewhere.
    pub(crate) fn retarget(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = target;
    }

    /// Cuts every connection, on both sides.
    pub(crate) fn cut(&self) {
        self.cut_near();
        self.cut_far();
    }

    /// Cuts every connection on the side of those who dialled: the target still believes in it.
    pub(crate) fn cut_near(&self) {
        std::mem::take(&mut *self.shared.near.lock().unwrap()).cancel();
    }

    /// Cuts the target's side of every connection so far.
    pub(crate) fn cut_far(&self) {
        std::mem::take(&mut *self.shared.far.lock().unwrap()).cancel();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn accept(listener: &TcpListener, shared: &Shared) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let target = *shared.target.lock().unwrap();
        let Ok(far) = TcpStream::connect(target).await else { continue };
        let tokens = (shared.near.lock().unwrap().clone(), shared.far.lock().unwrap().clone());
        tokio::spawn(forward(near, far, tokens));
    }
}

/// Forwards until a side is cut or both have ended. After a cut of the near side alone, the far one is held open.
async fn forward(near: TcpStream, far: TcpStream, (near_cut, far_cut): (CancellationToken, CancellationToken)) {
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near.into_split(), far.into_split());
    let both = async {
        tokio::join!(carry(&mut near_read, &mut far_write), carry(&mut far_read, &mut near_write));
    };
    tokio::select! {
        () = near_cut.cancelled() => {},
        () = far_cut.cancelled() => {},
        () = both => return,
    }
    drop((near_read, near_write));
    if near_cut.is_cancelled() {
        far_cut.cancelled().await;
    }
}

async fn carry(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) {
    drop(copy(from, to).await);
    drop(to.shutdown().await);
}
