// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ERC1155Holder} from "@openzeppelin/contracts/token/ERC1155/utils/ERC1155Holder.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";

/// @dev A holder that, each time it gets credits, acts at once from inside the contract that is at work. What it tries
/// may fail or be its right; what must hold afterwards is for the invariants to say.
contract Gremlin is ERC1155Holder {
    /// @dev Units of class `id`: reclaimed for `amount`, and sent to its friend.
    struct Deed {
        uint256 id;
        uint256 reclaimed;
        uint256 amount;
        uint256 sent;
    }

    IComputeCredits private immutable _CREDITS;
    ICreditReserve private immutable _RESERVE;
    address private immutable _FRIEND;
    Deed[] private _deeds;

    constructor(IComputeCredits credits, ICreditReserve reserve, address friend) {
        (_CREDITS, _RESERVE, _FRIEND) = (credits, reserve, friend);
    }

    /// @dev What it did since it was asked last.
    function takeDeeds() external returns (Deed[] memory deeds) {
        deeds = _deeds;
        delete _deeds;
    }

    function onERC1155Received(address, address, uint256 id, uint256 units, bytes memory)
        public
        override
        returns (bytes4)
    {
        Deed memory deed = Deed(id, 0, 0, 0);
        try _RESERVE.reclaim(id, units - units / 2) returns (uint256 amount) {
            (deed.reclaimed, deed.amount) = (units - units / 2, amount);
        } catch {}
        try _RESERVE.sweepExpired(id) {} catch {}
        try _CREDITS.safeTransferFrom(address(this), _FRIEND, id, units / 2, "") {
            deed.sent = units / 2;
        } catch {}
        _deeds.push(deed);
        return this.onERC1155Received.selector;
    }
}
