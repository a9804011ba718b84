// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {Usage} from "contracts/interfaces/Types.sol";
import {PartyActions} from "./PartyActions.sol";

/// @dev Those who try what nobody may do, whatever their role: rule 7.
abstract contract Attacks is PartyActions {
    function attack(uint256 who, uint256 what, uint256 class_, uint256 seed) external action {
        address[7] memory callers =
            [anyone, admin.addr, issuer.addr, providers[0].account, watchers[0].addr, address(gremlin), address(trick)];
        address caller = callers[who % callers.length];
        uint256 id = _class(class_);
        address victim = _buyer(seed).addr;
        (address target, bytes memory call) =
            what % 2 == 0 ? _theftOfCredits(caller, what / 2, id, victim) : _theftOfMoney(caller, what / 2, id, victim);
        if (!_mustNot(caller, target, call, 7)) _done();
    }

    function _theftOfCredits(address caller, uint256 what, uint256 id, address victim)
        private
        view
        returns (address target, bytes memory call)
    {
        target = address(credits);
        what %= 10;
        if (what == 0) call = abi.encodeCall(IComputeCredits.mint, (caller, id, 1));
        if (what == 1) call = abi.encodeCall(IComputeCredits.burn, (victim, id, 0));
        if (what == 2) call = abi.encodeCall(IComputeCredits.lockUnits, (victim, id, 0));
        if (what == 3) call = abi.encodeCall(IComputeCredits.releaseUnits, (id, new Usage[](0)));
        if (what == 4) call = abi.encodeCall(credits.safeTransferFrom, (victim, caller, id, 0, ""));
        if (what == 5) call = abi.encodeCall(IComputeCredits.deposit, (victim, id, 0));
        if (what == 6) call = abi.encodeCall(IComputeCredits.refund, (caller, id, 0, 0));
        if (what == 7) call = abi.encodeCall(IComputeCredits.spend, (id, 0));
        if (what == 8) {
            call = abi.encodeCall(IComputeCredits.setApprovalForAllBySig, (victim, caller, true, 0, _now(), ""));
        }
        if (what == 9) {
            call =
                abi.encodeCall(credits.safeBatchTransferFrom, (victim, caller, new uint256[](0), new uint256[](0), ""));
        }
    }

    function _theftOfMoney(address caller, uint256 what, uint256 id, address victim)
        private
        view
        returns (address target, bytes memory call)
    {
        target = address(registry);
        address token = address(usd);
        what %= 12;
        if (what == 0) call = abi.encodeCall(IProviderRegistry.unstake, (registry.stakeOf(caller) + 1));
        if (what == 1) call = abi.encodeCall(IProviderRegistry.slash, (0, providers[0].account, 1, caller, caller));
        if (what == 2) call = abi.encodeCall(IProviderRegistry.freeStake, (providers[0].account, 0));
        if (what == 3) call = abi.encodeCall(IProviderRegistry.releaseBond, (0, caller));
        if (what == 4) call = abi.encodeCall(IProviderRegistry.compensate, (id, providers[0].account, caller, 1));
        if (what == 5) call = abi.encodeCall(IProviderRegistry.bindClass, (caller, id));
        if (what < 6) return (target, call);
        target = address(reserve);
        if (what == 6) call = abi.encodeCall(ICreditReserve.creditEarningsOnBurn, (id, caller, 0, 1));
        if (what == 7) {
            call = abi.encodeCall(ICreditReserve.withdraw, (token, reserve.earningsOf(caller, token) + 1, caller));
        }
        if (what == 8) {
            call = abi.encodeCall(ICreditReserve.collectFees, (token, reserve.feesOf(token) + 1, caller));
        }
        if (what == 9) call = abi.encodeCall(ICreditReserve.proposeFee, (MAX_FEE_BPS + 1));
        if (what == 10) (target, call) = (token, abi.encodeCall(usd.transferFrom, (address(reserve), caller, 1)));
        if (what == 11) {
            ICreditExchange.Fill memory order;
            (order.offer.maker, order.offer.classId, order.offer.units) = (victim, id, 1);
            (order.offer.selling, order.offer.expiry, order.units) = (true, uint40(_now()), 1);
            order.offer.epoch = uint64(epochs[victim]);
            (target, call) = (address(exchange), abi.encodeCall(ICreditExchange.fillRow, (victim, order)));
        }
    }
}
