// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IDelayedRoles} from "contracts/interfaces/IDelayedRoles.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {ClassTerms, Usage} from "contracts/interfaces/Types.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev Every call that one contract, or one role, alone may make reverts for any other caller: in any state, at any time,
/// with any arguments. Lists of addresses and usages have up to two entries.
contract AccessCheck is Symbolic {
    IComputeCredits private credits;
    ICreditReserve private reserve;
    IProviderRegistry private registry;
    IReceiptVerifier private verifier;
    ISpendingBudgets private budgets;
    ICreditExchange private exchange;

    function setUp() public {
        _standIn();
        bytes memory roles = abi.encode(_system(), ADMIN, ADMIN_DELAY, ROLE_DELAY);
        credits = IComputeCredits(_deployInAnyState("ComputeCredits", roles));
        exchange = ICreditExchange(_deployInAnyState("CreditExchange", roles));
        reserve = ICreditReserve(
            _deployInAnyState("CreditReserve", abi.encode(_system(), ADMIN, ADMIN_DELAY, ROLE_DELAY, address(0)))
        );
        registry = IProviderRegistry(_deployInAnyState("ProviderRegistry", abi.encode(_system(), TOKEN, 7 days, 10e6)));
        verifier =
            IReceiptVerifier(_deployInAnyState("ReceiptVerifier", abi.encode(ADMIN, ADMIN_DELAY, ROLE_DELAY, 2 days)));
        budgets = ISpendingBudgets(_deployInAnyState("SpendingBudgets", abi.encode(_system())));
        _anyTime();
    }

    /* CREDITS */

    function check_mint(address caller, address to, uint256 id, uint256 units) public {
        vm.assume(caller != RESERVE);
        assert(!_call(address(credits), caller, abi.encodeCall(credits.mint, (to, id, units))));
    }

    function check_burn(address caller, address from, uint256 id, uint256 units) public {
        vm.assume(caller != RESERVE);
        assert(!_call(address(credits), caller, abi.encodeCall(credits.burn, (from, id, units))));
    }

    function check_lock(address caller, address from, uint256 id, uint256 units) public {
        vm.assume(caller != MARKET);
        assert(!_call(address(credits), caller, abi.encodeCall(credits.lockUnits, (from, id, units))));
    }

    function check_settle(address caller, uint256 id, Usage[] memory usages) public {
        vm.assume(caller != MARKET);
        assert(!_call(address(credits), caller, abi.encodeCall(credits.releaseUnits, (id, usages))));
    }

    function check_deposit(address caller, address from, uint256 id, uint256 units) public {
        vm.assume(caller != SESSIONS);
        assert(!_call(address(credits), caller, abi.encodeCall(credits.deposit, (from, id, units))));
    }

    function check_refund(address caller, address to, uint256 id, uint256 units, uint256 deposited) public {
        vm.assume(caller != SESSIONS);
        assert(!_call(address(credits), caller, abi.encodeCall(credits.refund, (to, id, units, deposited))));
    }

    function check_spend(address caller, uint256 id, uint256 units) public {
        vm.assume(caller != SESSIONS);
        assert(!_call(address(credits), caller, abi.encodeCall(credits.spend, (id, units))));
    }

    function check_createClass(address caller, address[] memory providers) public {
        _assumeWithout(address(credits), "ISSUER_ROLE", caller);
        ClassTerms memory terms;
        terms.issuer = svm.createAddress("issuer");
        terms.maxRate = uint64(svm.createUint(64, "maxRate"));
        terms.maxSupply = uint128(svm.createUint(128, "maxSupply"));
        terms.name = "any";
        assert(!_call(address(credits), caller, abi.encodeCall(credits.createClass, (terms, providers))));
    }

    function check_pauseClass(address caller, uint256 id, uint40 until) public {
        _assumeWithout(address(credits), "PAUSER_ROLE", caller);
        assert(!_call(address(credits), caller, abi.encodeCall(credits.pauseClass, (id, until))));
    }

    /// @dev Whom `closeClass` refuses as not the issuer, `grant` refuses too.
    function check_grant(address caller, address to, uint256 id, uint256 units) public {
        vm.prank(caller);
        (bool closed, bytes memory why) = address(credits).call(abi.encodeCall(credits.closeClass, (id)));
        vm.assume(!closed && bytes4(why) == IComputeCredits.ComputeCredits_NotIssuer.selector);
        assert(!_call(address(credits), caller, abi.encodeCall(credits.grant, (to, id, units))));
    }

    /* RESERVE */

    function check_payOut(address caller, uint256 id, address provider, uint256 units, uint256 supply) public {
        vm.assume(caller != MARKET && caller != SESSIONS);
        assert(
            !_call(
                address(reserve), caller, abi.encodeCall(reserve.creditEarningsOnBurn, (id, provider, units, supply))
            )
        );
    }

    function check_reserve_proposeFee(address caller, uint256 bps) public {
        _assumeWithout(address(reserve), "FEE_ROLE", caller);
        assert(!_call(address(reserve), caller, abi.encodeCall(reserve.proposeFee, (bps))));
    }

    function check_collectFees(address caller, uint256 amount, address to) public {
        _assumeWithout(address(reserve), "FEE_ROLE", caller);
        assert(!_call(address(reserve), caller, abi.encodeCall(reserve.collectFees, (TOKEN, amount, to))));
    }

    /* REGISTRY */

    function check_bindClass(address caller, address provider, uint256 id) public {
        vm.assume(caller != CREDITS);
        assert(!_call(address(registry), caller, abi.encodeCall(registry.bindClass, (provider, id))));
    }

    function check_reserveStake(address caller, address provider, uint256 amount) public {
        vm.assume(caller != MARKET);
        assert(!_call(address(registry), caller, abi.encodeCall(registry.reserveStake, (provider, amount))));
    }

    function check_freeStake(address caller, address provider, uint256 amount) public {
        vm.assume(caller != MARKET);
        assert(!_call(address(registry), caller, abi.encodeCall(registry.freeStake, (provider, amount))));
    }

    function check_takeBond(address caller, bytes32 job, address challenger) public {
        vm.assume(caller != MARKET);
        assert(!_call(address(registry), caller, abi.encodeCall(registry.takeBond, (job, challenger))));
    }

    function check_releaseBond(address caller, bytes32 job, address to) public {
        vm.assume(caller != MARKET);
        assert(!_call(address(registry), caller, abi.encodeCall(registry.releaseBond, (job, to))));
    }

    function check_slash(address caller, bytes32 job, address provider, uint256 amount, address to, address other)
        public
    {
        vm.assume(caller != MARKET && caller != SESSIONS);
        assert(!_call(address(registry), caller, abi.encodeCall(registry.slash, (job, provider, amount, to, other))));
    }

    function check_compensate(address caller, uint256 id, address provider, address holder, uint256 units) public {
        vm.assume(caller != RESERVE);
        assert(!_call(address(registry), caller, abi.encodeCall(registry.compensate, (id, provider, holder, units))));
    }

    /* BUDGETS */

    function check_charge(address caller, uint256 id, address a, address b, address c, uint256 class_, uint256 units)
        public
    {
        vm.assume(caller != MARKET && caller != SESSIONS);
        assert(!_call(address(budgets), caller, abi.encodeCall(budgets.charge, (id, a, b, c, class_, units))));
    }

    function check_chargeValue(address caller, uint256 id, address a, address b, address c, address d, uint256 value)
        public
    {
        vm.assume(caller != EXCHANGE);
        assert(!_call(address(budgets), caller, abi.encodeCall(budgets.chargeValue, (id, a, b, c, d, value))));
    }

    function check_release(address caller, uint256 id, uint256 value) public {
        vm.assume(caller != MARKET && caller != SESSIONS);
        assert(!_call(address(budgets), caller, abi.encodeCall(budgets.release, (id, value))));
    }

    /* VERIFIER, EXCHANGE */

    function check_proposeSet(address caller, uint256 id, address[] memory watchers, uint256 threshold) public {
        _assumeWithout(address(verifier), "WATCHER_ADMIN_ROLE", caller);
        assert(!_call(address(verifier), caller, abi.encodeCall(verifier.proposeSet, (id, watchers, threshold))));
    }

    function check_cancelProposal(address caller, uint256 id) public {
        _assumeWithout(address(verifier), "WATCHER_ADMIN_ROLE", caller);
        assert(!_call(address(verifier), caller, abi.encodeCall(verifier.cancelProposal, (id))));
    }

    function check_exchange_proposeFee(address caller, uint256 bps, address recipient) public {
        _assumeWithout(address(exchange), "FEE_ROLE", caller);
        assert(!_call(address(exchange), caller, abi.encodeCall(exchange.proposeFee, (bps, recipient))));
    }

    /* ROLES */

    function check_sealRoles(address caller) public {
        address target = _anyWithRoles();
        vm.assume(!IAccessControl(target).hasRole(0, caller));
        assert(!_call(target, caller, abi.encodeCall(IDelayedRoles.sealRoles, ())));
    }

    function check_scheduleRole(address caller, bytes32 role, address account) public {
        address target = _anyWithRoles();
        vm.assume(!IAccessControl(target).hasRole(IAccessControl(target).getRoleAdmin(role), caller));
        assert(!_call(target, caller, abi.encodeCall(IDelayedRoles.scheduleRole, (role, account))));
    }

    function check_grantRole(address caller, bytes32 role, address account) public {
        address target = _anyWithRoles();
        vm.assume(!IAccessControl(target).hasRole(IAccessControl(target).getRoleAdmin(role), caller));
        assert(!_call(target, caller, abi.encodeCall(IAccessControl.grantRole, (role, account))));
    }

    /// @dev Not even the admin, once the roles are sealed, without an announcement that is due.
    function check_grantRole_unannounced(address caller, bytes32 role, address account) public {
        address target = _anyWithRoles();
        vm.assume(IDelayedRoles(target).rolesSealed());
        uint256 due = IDelayedRoles(target).grantableAt(role, account);
        vm.assume(due == 0 || due > block.timestamp);
        assert(!_call(target, caller, abi.encodeCall(IAccessControl.grantRole, (role, account))));
    }

    function check_revokeRole(address caller, bytes32 role, address account) public {
        address target = _anyWithRoles();
        vm.assume(!IAccessControl(target).hasRole(IAccessControl(target).getRoleAdmin(role), caller));
        assert(!_call(target, caller, abi.encodeCall(IAccessControl.revokeRole, (role, account))));
    }

    /* HELPERS */

    function _assumeWithout(address target, string memory role, address caller) private view {
        vm.assume(!IAccessControl(target).hasRole(keccak256(bytes(role)), caller));
    }

    /// @dev One of the four contracts that have roles.
    function _anyWithRoles() private returns (address) {
        uint256 which = svm.createUint(2, "which");
        if (which == 0) return address(credits);
        if (which == 1) return address(reserve);
        return which == 2 ? address(verifier) : address(exchange);
    }
}
