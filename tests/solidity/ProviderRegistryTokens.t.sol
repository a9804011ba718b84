// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {DishonestToken, SilentToken} from "./support/DishonestToken.sol";
import {RegistryBase} from "./support/RegistryBase.sol";

/// @dev Stake tokens that lie, or call back. The token itself is a provider, so that its calls have something to move.
contract ProviderRegistryTokensTest is RegistryBase {
    uint256 private constant UNIT = 1_000_000;
    DishonestToken private token;

    function setUp() public override {
        super.setUp();
        token = new DishonestToken();
        registry = _newRegistry(address(token), UNBONDING_DELAY, CHALLENGE_BOND);
        _register(provider.addr);
        _register(address(token));
    }

    /* WHAT IT DELIVERS */

    function testFuzz_RevertWhen_StakeIsDeliveredShort(uint128 amount, uint256 kept) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        kept = bound(kept, 1, amount);
        _supply(provider.addr, amount);
        token.keep(kept);
        bytes4 reason = IProviderRegistry.ProviderRegistry_WrongPayment.selector;
        _expect(reason, provider.addr, uint256(amount) - kept, amount);
        vm.prank(provider.addr);
        registry.stake(amount);
    }

    function testFuzz_RevertWhen_StakeIsDeliveredTwice(uint128 amount, uint128 added) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        added = uint128(bound(added, 1, type(uint128).max));
        _supply(provider.addr, amount);
        token.add(added);
        bytes4 reason = IProviderRegistry.ProviderRegistry_WrongPayment.selector;
        _expect(reason, provider.addr, uint256(amount) + added, amount);
        vm.prank(provider.addr);
        registry.stake(amount);
    }

    function testFuzz_RevertWhen_BondIsDeliveredShort(uint256 kept) public {
        kept = bound(kept, 1, CHALLENGE_BOND);
        _supply(challenger, CHALLENGE_BOND);
        token.keep(kept);
        bytes4 reason = IProviderRegistry.ProviderRegistry_WrongPayment.selector;
        _expect(reason, challenger, CHALLENGE_BOND - kept, CHALLENGE_BOND);
        vm.prank(market);
        registry.takeBond(JOB, challenger);
    }

    function test_RevertWhen_TokenAnswersFalse() public {
        _prepare(provider.addr);
        token.answerFalse();
        bytes memory reason = abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token));
        vm.startPrank(provider.addr);
        vm.expectRevert(reason);
        registry.stake(UNIT);
        vm.expectRevert(reason);
        registry.withdrawStake(provider.addr);
        vm.expectRevert(reason);
        registry.withdrawAward(provider.addr);
        vm.stopPrank();
        vm.expectRevert(reason);
        vm.prank(market);
        registry.takeBond(JOB, provider.addr);
    }

    /// @dev Tokens that answer nothing, as some old ones do, are fine.
    function testFuzz_SilentToken(uint128 amount) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        SilentToken silent = new SilentToken();
        registry = _newRegistry(address(silent), UNBONDING_DELAY, CHALLENGE_BOND);
        _register(provider.addr);
        silent.mint(provider.addr, amount);
        vm.startPrank(provider.addr);
        registry.stake(amount);
        registry.unstake(amount);
        skip(UNBONDING_DELAY);
        registry.withdrawStake(anyone);
        assertEq(silent.balanceOf(anyone), amount, "received");
    }

    /* REENTRANCY */

    /// @dev From inside any call that moves tokens, no other such call gets through.
    function testFuzz_RevertWhen_TokenCallsBack(uint256 outer, uint256 inner) public {
        _prepare(provider.addr);
        _prepare(address(token));
        token.callBack(address(registry), _movingCall(bound(inner, 0, 3), address(token)));
        outer = bound(outer, 0, 3);
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        vm.prank(outer == 3 ? market : provider.addr);
        _try(_movingCall(outer, provider.addr));
    }

    /// @dev A provider that is called in the middle of its own payment can shift stake, not make any.
    function testFuzz_CallBack_UnstakeWhileStaking(uint256 staked, uint256 more, uint256 unstaked) public {
        staked = bound(staked, 1, MAX_STAKE);
        more = bound(more, 1, MAX_STAKE);
        unstaked = bound(unstaked, 1, staked);
        address account = address(token);
        _supply(account, staked + more);
        vm.startPrank(account);
        registry.stake(staked);
        token.callBack(address(registry), abi.encodeCall(IProviderRegistry.unstake, (unstaked)));
        registry.stake(more);
        assertEq(registry.stakeOf(account), staked - unstaked + more, "stake");
        assertEq(_unbonding(account), unstaked, "unbonding");
        assertEq(token.balanceOf(address(registry)), staked + more, "registry's tokens");
    }

    /// @dev What was paid out is no longer there when the token gets to act.
    function test_CallBack_SeesFinalState() public {
        Peek peek = new Peek(registry, provider.addr);
        _prepare(provider.addr);
        token.callBack(address(peek), abi.encodeCall(Peek.look, ()));
        vm.prank(provider.addr);
        registry.withdrawStake(provider.addr);
        assertEq(peek.unbonding(), 0, "unbonding while stake is paid out");
        token.callBack(address(peek), abi.encodeCall(Peek.look, ()));
        vm.prank(provider.addr);
        registry.withdrawAward(provider.addr);
        assertEq(peek.award(), 0, "award while it is paid out");
    }

    /* HELPERS */

    function _supply(address account, uint256 amount) private {
        token.mint(account, amount);
        vm.prank(account);
        token.approve(address(registry), type(uint256).max);
    }

    /// @dev Gives an account stake, stake that has unbonded, an award, and tokens to pay with.
    function _prepare(address account) private {
        _supply(account, 4 * UNIT + CHALLENGE_BOND);
        vm.startPrank(account);
        registry.stake(3 * UNIT);
        registry.unstake(UNIT);
        vm.stopPrank();
        vm.prank(market);
        registry.slash(JOB, account, UNIT, account, account);
        skip(UNBONDING_DELAY);
    }

    function _movingCall(uint256 which, address account) private pure returns (bytes memory) {
        if (which == 0) return abi.encodeCall(IProviderRegistry.stake, (UNIT));
        if (which == 1) return abi.encodeCall(IProviderRegistry.withdrawStake, (account));
        if (which == 2) return abi.encodeCall(IProviderRegistry.withdrawAward, (account));
        return abi.encodeCall(IProviderRegistry.takeBond, (JOB, account));
    }

    function _try(bytes memory call) private {
        (bool ok, bytes memory answer) = address(registry).call(call);
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }
}

/// @dev Notes what the registry says of an account at the time.
contract Peek {
    IProviderRegistry private immutable _REGISTRY;
    address private immutable _ACCOUNT;
    uint256 public unbonding = 1;
    uint256 public award = 1;

    constructor(IProviderRegistry registry, address account) {
        (_REGISTRY, _ACCOUNT) = (registry, account);
    }

    function look() external {
        (unbonding,) = _REGISTRY.unbondingOf(_ACCOUNT);
        award = _REGISTRY.awardOf(_ACCOUNT);
    }
}
