// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {AuditActions} from "./AuditActions.sol";
import {BudgetActions} from "./BudgetActions.sol";
import {CreditActions} from "./CreditActions.sol";
import {DisputeActions} from "./DisputeActions.sol";
import {ExchangeActions} from "./ExchangeActions.sol";
import {JobActions} from "./JobActions.sol";
import {Attacks} from "./Attacks.sol";
import {PartyActions} from "./PartyActions.sol";
import {ReserveActions} from "./ReserveActions.sol";
import {SessionActions} from "./SessionActions.sol";
import {SettlementActions} from "./SettlementActions.sol";
import {WayOut} from "./WayOut.sol";

/// @dev Drives the whole system by random actions. Files, from the ground up: Record (what was seen), State (who and
/// what), Model (what should be), the actions by concern, Checks (what must hold), WayOut (how everybody leaves).
contract Handler is WayOut {
    bytes4[] private _actions;

    constructor() {
        setUp();
    }

    function setUp() public override {
        super.setUp();
        delete classes;
        _adopt(plain, 0, _saleTerms());
        _adopt(watched, 1, _watchedTerms());
        for (uint256 kind = 2; kind < KINDS; ++kind) {
            _newClass(kind);
        }
        for (uint256 i; i < 3; ++i) {
            allowed[holders[i]] = true;
            vm.prank(issuer.addr);
            allowList.set(_one(holders[i]), true);
        }
        _setFee(100);
        feeNow = 100;
        for (uint256 i; i < 2; ++i) {
            _addStake(providers[i], MOST);
            _plant(buyers[i].addr, 100 + i);
        }
        _branch(budgetIds[0], 1, 0);
        _branch(budgetIds[2], 2, 1);
    }

    /// @dev The actions a campaign draws from. Those that move jobs and money are listed more than once, so that they
    /// are drawn more often.
    function actions() external returns (bytes4[] memory) {
        delete _actions;
        _listJobs();
        _listMoney();
        _listParties();
        return _actions;
    }

    function _listJobs() private {
        _add(10, JobActions.open.selector);
        _add(2, JobActions.accept.selector);
        _add(1, JobActions.cancel.selector);
        _add(1, JobActions.expire.selector);
        _add(1, JobActions.endTooEarly.selector);
        _add(6, SettlementActions.submit.selector);
        _add(3, SettlementActions.submitBatch.selector);
        _add(1, SettlementActions.submitWrong.selector);
        _add(1, SettlementActions.submitForged.selector);
        _add(1, SettlementActions.submitLate.selector);
        _add(1, SettlementActions.replay.selector);
        _add(3, DisputeActions.finalize.selector);
        _add(2, DisputeActions.finalizeBatch.selector);
        _add(3, DisputeActions.challenge.selector);
        _add(3, DisputeActions.resolve.selector);
        _add(1, DisputeActions.resolveWrong.selector);
        _add(3, SessionActions.openSession.selector);
        _add(1, SessionActions.topUp.selector);
        _add(2, SessionActions.claim.selector);
        _add(2, SessionActions.claimBatch.selector);
        _add(1, SessionActions.claimWrong.selector);
        _add(1, SessionActions.requestClose.selector);
        _add(2, SessionActions.closeSession.selector);
        _add(1, SessionActions.reviveSession.selector);
        _add(3, AuditActions.penalise.selector);
        _add(1, AuditActions.penaliseForged.selector);
    }

    function _listMoney() private {
        _add(3, CreditActions.buy.selector);
        _add(1, CreditActions.buyWithAuthorization.selector);
        _add(2, CreditActions.grant.selector);
        _add(2, CreditActions.transfer.selector);
        _add(1, CreditActions.transferLocked.selector);
        _add(1, CreditActions.createClass.selector);
        _add(1, CreditActions.closeClass.selector);
        _add(1, CreditActions.pauseClass.selector);
        _add(2, CreditActions.unpauseClass.selector);
        _add(1, CreditActions.allow.selector);
        _add(2, ReserveActions.reclaim.selector);
        _add(1, ReserveActions.reclaimTooEarly.selector);
        _add(2, ReserveActions.sweepExpired.selector);
        _add(2, ReserveActions.withdraw.selector);
        _add(1, ReserveActions.proposeFee.selector);
        _add(2, ReserveActions.applyFee.selector);
        _add(1, ReserveActions.collectFees.selector);
        _add(1, ReserveActions.donate.selector);
        _add(1, ReserveActions.changeToken.selector);
        _add(1, ReserveActions.changeReceiver.selector);
        _add(2, ReserveActions.changeFeed.selector);
        _add(1, ReserveActions.changeSequencer.selector);
    }

    function _listParties() private {
        _add(1, BudgetActions.createBudget.selector);
        _add(1, BudgetActions.createChild.selector);
        _add(1, BudgetActions.setBudget.selector);
        _add(1, BudgetActions.listPayee.selector);
        _add(1, BudgetActions.revokeBudget.selector);
        _add(1, BudgetActions.meddle.selector);
        _add(2, ExchangeActions.makeOffer.selector);
        _add(1, ExchangeActions.cancelOffer.selector);
        _add(1, ExchangeActions.raiseEpoch.selector);
        _add(3, ExchangeActions.fill.selector);
        _add(3, ExchangeActions.fillFor.selector);
        _add(2, ExchangeActions.fillBatch.selector);
        _add(3, ExchangeActions.fillForged.selector);
        _add(1, ExchangeActions.proposeExchangeFee.selector);
        _add(1, ExchangeActions.applyExchangeFee.selector);
        _add(4, PartyActions.wait.selector);
        _add(1, PartyActions.waitDays.selector);
        _add(1, PartyActions.waitMonths.selector);
        _add(1, PartyActions.stake.selector);
        _add(1, PartyActions.unstake.selector);
        _add(1, PartyActions.withdrawStake.selector);
        _add(1, PartyActions.withdrawAward.selector);
        _add(1, PartyActions.rotateOracle.selector);
        _add(1, PartyActions.moveProvider.selector);
        _add(1, PartyActions.changeSkus.selector);
        _add(2, PartyActions.attestCapacity.selector);
        _add(1, PartyActions.proposeWatchers.selector);
        _add(1, PartyActions.activateWatchers.selector);
        _add(2, Attacks.attack.selector);
    }

    function _add(uint256 times, bytes4 selector) private {
        for (uint256 i; i < times; ++i) {
            _actions.push(selector);
        }
    }
}
