// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IEAS} from "contracts/interfaces/IEAS.sol";

/// @dev Keeps attestations as EAS v1 does: anyone attests, only the attester revokes, an unknown uid is all zeros.
contract MockEAS is IEAS {
    mapping(bytes32 uid => Attestation) private _attestations;
    uint256 private _count;

    function attest(bytes32 schema, address recipient, uint64 expirationTime) external returns (bytes32 uid) {
        uid = keccak256(abi.encode(msg.sender, ++_count));
        _attestations[uid] = Attestation({
            uid: uid,
            schema: schema,
            time: uint64(block.timestamp),
            expirationTime: expirationTime,
            revocationTime: 0,
            refUID: 0,
            recipient: recipient,
            attester: msg.sender,
            revocable: true,
            data: "any"
        });
    }

    function revoke(bytes32 uid) external {
        require(_attestations[uid].attester == msg.sender, "AccessDenied");
        _attestations[uid].revocationTime = uint64(block.timestamp);
    }

    function getAttestation(bytes32 uid) external view returns (Attestation memory) {
        return _attestations[uid];
    }
}
