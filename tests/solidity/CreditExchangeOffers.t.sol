// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {Offer} from "contracts/interfaces/Types.sol";
import {CreditExchangeBase} from "./CreditExchangeBase.t.sol";
import {ContractWallet} from "./support/Wallets.sol";

/// @dev Who an offer binds, and how its maker takes it back.
contract CreditExchangeOffersTest is CreditExchangeBase {
    /* SIGNATURES */

    function testFuzz_RevertWhen_SignedByAnother(bool selling, uint256 seed) public {
        ICreditExchange.Fill memory order = _order(_stocked(selling), 1);
        Account memory other = makeAccount(vm.toString(seed));
        order.signature = _sign(other, exchange.hashOffer(order.offer));
        _expectBadSignature(order, other.addr);
    }

    function testFuzz_RevertWhen_SignatureIsMalformed(bytes memory signature) public {
        vm.assume(signature.length != 65);
        ICreditExchange.Fill memory order = _order(_stocked(true), 1);
        order.signature = signature;
        _expectBadSignature(order, address(0));
    }

    /// @dev Whatever a taker changes makes it another offer, which nobody signed.
    function testFuzz_RevertWhen_TakerChangesTheOffer(bool selling, uint256 field, uint256 seed) public {
        ICreditExchange.Fill memory order = _order(_stocked(selling), 1);
        bytes32 signed = exchange.hashOffer(order.offer);
        _alter(order.offer, bound(field, 0, 9), bound(seed, 1, 1_000));
        assertNotEq(exchange.hashOffer(order.offer), signed, "another hash");
        _expectBadSignature(order, _recover(order));
    }

    function testFuzz_RevertWhen_MakerIsNobody(bytes32 r, bytes32 s, uint8 v) public {
        ICreditExchange.Fill memory order = _order(_offer(true, address(0)), 1);
        order.signature = abi.encodePacked(r, s, v);
        _expectBadSignature(order, _recover(order));
    }

    function testFuzz_RevertWhen_SignedForAnotherChain(uint64 chainId) public {
        chainId = uint64(bound(chainId, 1, type(uint64).max - 1));
        vm.assume(chainId != block.chainid);
        ICreditExchange.Fill memory order = _order(_stocked(true), 1);
        vm.chainId(chainId);
        _expectBadSignature(order, _recover(order));
    }

    function test_RevertWhen_SignedForAnotherExchange() public {
        ICreditExchange.Fill memory order = _order(_stocked(true), 1);
        ICreditExchange other = ICreditExchange(
            deployCode("CreditExchange.sol:CreditExchange", abi.encode(system, admin.addr, ADMIN_DELAY, ROLE_DELAY))
        );
        order.signature = _sign(alice, other.hashOffer(order.offer));
        _expectBadSignature(order, _recover(order));
    }

    function test_RevertWhen_WalletDidNotApprove() public {
        ICreditExchange.Fill memory order = _order(_offer(true, address(new ContractWallet())), 1);
        _expectBadSignature(order, alice.addr);
    }

    /// @dev A maker with code that has no answer, Scrip's own contracts and the exchange included.
    function test_RevertWhen_MakerCannotSign() public {
        address[3] memory makers = [address(exchange), address(credits), address(usd)];
        for (uint256 i; i < makers.length; ++i) {
            _expectBadSignature(_order(_offer(true, makers[i]), 1), alice.addr);
        }
    }

    function testFuzz_Fill_OfAContractWallet(bool selling, bytes memory signature) public {
        ContractWallet wallet = new ContractWallet();
        Offer memory offer = _offer(selling, address(wallet));
        _stock(offer);
        wallet.approve(exchange.hashOffer(offer));
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        order.signature = signature;
        assertEq(_fill(order), TOTAL, "price");
        _assertCredits(selling ? bob.addr : address(wallet), plain, UNITS, "bought");
    }

    /// @dev Against the type string in the documents, by another encoder.
    function testFuzz_HashOffer(Offer memory offer) public view {
        bytes32 typehash = keccak256(
            "Offer(address maker,bool selling,uint256 classId,uint128 units,address token,uint128 price,address taker,uint40 expiry,uint64 epoch,uint256 salt)"
        );
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Scrip CreditExchange"),
                keccak256("1"),
                block.chainid,
                address(exchange)
            )
        );
        bytes32 structHash = keccak256(abi.encode(typehash, offer));
        assertEq(
            exchange.hashOffer(offer), keccak256(abi.encodePacked(hex"1901", domain, structHash)), "EIP-712 digest"
        );
    }

    function test_Eip712Domain() public view {
        (, string memory name, string memory version, uint256 chainId, address exchangeAt,,) =
            IERC5267(address(exchange)).eip712Domain();
        assertEq(name, "Scrip CreditExchange", "name");
        assertEq(version, "1", "version");
        assertEq(chainId, block.chainid, "chain");
        assertEq(exchangeAt, address(exchange), "contract");
    }

    /* CANCELLING ONE */

    function testFuzz_RevertWhen_CancelledByAnother(address other) public {
        vm.assume(other != alice.addr);
        Offer memory offer = _offer(true);
        bytes32 id = exchange.hashOffer(offer);
        _expect(ICreditExchange.CreditExchange_NotMaker.selector, id, other, alice.addr);
        vm.prank(other);
        exchange.cancel(offer);
    }

    function testFuzz_RevertWhen_Cancelled(bool selling, uint128 filled) public {
        Offer memory offer = _stocked(selling);
        filled = uint128(bound(filled, 0, UNITS - 1));
        if (filled != 0) _fill(offer, filled);
        bytes32 id = exchange.hashOffer(offer);
        vm.expectEmit(address(exchange));
        emit ICreditExchange.OfferCancelled(id, alice.addr);
        vm.prank(alice.addr);
        exchange.cancel(offer);
        assertTrue(exchange.isCancelled(id), "cancelled");
        assertEq(exchange.filledOf(id), filled, "what was filled before");
        ICreditExchange.Fill memory order = _order(offer, 1);
        _expect(ICreditExchange.CreditExchange_Cancelled.selector, id, 1, 0);
        _fill(order);
    }

    function testFuzz_Cancel_LeavesOtherOffers(bool selling) public {
        Offer memory offer = _stocked(selling);
        vm.prank(alice.addr);
        exchange.cancel(_offer(selling));
        assertFalse(exchange.isCancelled(exchange.hashOffer(offer)), "the other offer");
        assertEq(_fill(offer, UNITS), TOTAL, "price");
    }

    /* CANCELLING ALL */

    function testFuzz_RevertWhen_EpochIsNotHigher(uint64 epoch, uint64 next) public {
        vm.startPrank(alice.addr);
        epoch = uint64(bound(epoch, 1, type(uint64).max));
        exchange.raiseEpoch(epoch);
        next = uint64(bound(next, 0, epoch));
        _expect(ICreditExchange.CreditExchange_EpochNotHigher.selector, bytes32(0), next, epoch);
        exchange.raiseEpoch(next);
        vm.stopPrank();
    }

    function test_RevertWhen_EpochStaysZero() public {
        _expect(ICreditExchange.CreditExchange_EpochNotHigher.selector, bytes32(0), uint256(0), uint256(0));
        exchange.raiseEpoch(0);
    }

    /// @dev Past epochs were cancelled, and those to come are not in force yet.
    function testFuzz_RevertWhen_EpochIsAnother(bool selling, uint64 epoch, uint64 current) public {
        vm.assume(epoch != current);
        Offer memory offer = _stocked(selling);
        offer.epoch = epoch;
        if (current != 0) _raiseEpoch(current);
        bytes32 id = exchange.hashOffer(offer);
        ICreditExchange.Fill memory order = _order(offer, 1);
        _expect(ICreditExchange.CreditExchange_WrongEpoch.selector, id, epoch, current);
        _fill(order);
    }

    function testFuzz_RaiseEpoch(bool selling, uint64 epoch) public {
        epoch = uint64(bound(epoch, 1, type(uint64).max));
        Offer memory offer = _stocked(selling);
        offer.epoch = epoch;
        vm.expectEmit(address(exchange));
        emit ICreditExchange.EpochRaised(alice.addr, epoch);
        _raiseEpoch(epoch);
        assertEq(exchange.epochOf(alice.addr), epoch, "alice's epoch");
        assertEq(exchange.epochOf(bob.addr), 0, "bob's epoch");
        assertEq(_fill(offer, UNITS), TOTAL, "offers of the new epoch can be filled");
    }

    /* HELPERS */

    function _raiseEpoch(uint64 epoch) private {
        vm.prank(alice.addr);
        exchange.raiseEpoch(epoch);
    }

    function _expectBadSignature(ICreditExchange.Fill memory order, address given) private {
        bytes32 id = exchange.hashOffer(order.offer);
        _expect(ICreditExchange.CreditExchange_BadSignature.selector, id, given, order.offer.maker);
        _fill(order);
        assertEq(exchange.filledOf(id), 0, "filled");
    }

    /// @dev Whoever a signature would belong to.
    function _recover(ICreditExchange.Fill memory order) private view returns (address signer) {
        (signer,,) = ECDSA.tryRecover(exchange.hashOffer(order.offer), order.signature);
    }

    /// @dev Changes one field in a way that no other check refuses.
    function _alter(Offer memory o, uint256 field, uint256 by) private {
        if (field == 0) o.maker = address(uint160(o.maker) + uint160(by));
        if (field == 1) o.selling = !o.selling;
        if (field == 2) o.classId += by;
        if (field == 3) o.units += uint128(by);
        if (field == 4) o.token = address(uint160(o.token) + uint160(by));
        if (field == 5) o.price += uint128(by);
        if (field == 6) o.taker = bob.addr;
        if (field == 7) o.expiry += uint40(by);
        if (field == 8) {
            o.epoch += uint64(by);
            _raiseEpoch(o.epoch);
        }
        if (field == 9) o.salt += by;
    }
}
