//! VLAN tags (IEEE 802.1Q): taken off where packets come in and put in where they leave, so that each VLAN is a port of its own to
//! all that is in between.

use dpdk_wrapper::Mbuf;

use crate::id::PortId;
use crate::io::BURST;
use crate::service::Vlan;
use crate::wire::ethernet::EtherType;

/// Bytes of both Ethernet addresses.
const ADDRESSES_LEN: usize = 12;

/// Bytes of a tag.
const TAG_LEN: usize = 4;

/// The bits of a VLAN's number in a tag. The others are priority and drop eligibility.
const NUMBER: u16 = 0xfff;

/// Takes the tags off those packets that are of one of `vlans`, which they then come from, or that have a tag of priority alone.
/// Others stay as they are.
pub(super) fn untag(burst: &mut arrayvec::ArrayVec<Mbuf, BURST>, vlans: &[(PortId, Vlan)]) {
    for packet in burst.iter_mut() {
        let Some(tag) = tag_of(packet.data()) else { continue };
        let number = tag & NUMBER;
        let device = packet.port().map(|port| PortId(port.0));
        let of = vlans.iter().find(|(_, vlan)| vlan.tag == number && Some(vlan.device) == device);
        if let Some((id, _)) = of {
            packet.set_port(dpdk_wrapper::PortId(id.0));
        } else if number != 0 {
            continue;
        }
        packet.data_mut().copy_within(..ADDRESSES_LEN, TAG_LEN);
        // There is more than that: the tag was read behind it.
        packet.trim_front(TAG_LEN);
    }
}

/// The tag of a frame that has one.
fn tag_of(frame: &[u8]) -> Option<u16> {
    let (kind, tag) = (frame.get(ADDRESSES_LEN..)?.first_chunk()?, frame.get(ADDRESSES_LEN + 2..)?.first_chunk()?);
    (EtherType(u16::from_be_bytes(*kind)) == EtherType::VLAN).then(|| u16::from_be_bytes(*tag))
}

/// Puts a tag with this number into `packet`. Returns whether there was room; if not, it is as it was.
pub(super) fn tag(packet: &mut Mbuf, number: u16) -> bool {
    if packet.data().len() < ADDRESSES_LEN || packet.prepend(TAG_LEN).is_none() {
        return false;
    }
    let frame = packet.data_mut();
    frame.copy_within(TAG_LEN..TAG_LEN + ADDRESSES_LEN, 0);
    frame[ADDRESSES_LEN..ADDRESSES_LEN + 2].copy_from_slice(&EtherType::VLAN.0.to_be_bytes());
    frame[ADDRESSES_LEN + 2..ADDRESSES_LEN + 4].copy_from_slice(&number.to_be_bytes());
    true
}
