"""What a node, its links and its radio say: the names they use, and what helps."""

from __future__ import annotations

from typing import Final

from ciris_mesh.ui.explaining import Group

_REPAIRS_ITSELF: Final = "nothing: the next round repairs it. If it goes on, look at the peer."
_PEERS_FAULT: Final = (
    "if it happens again: update both nodes; if they are the same version, report it, or remove "
    "the peer."
)
_EDIT: Final = (
    "edit Reticulum's configuration; `ciris-mesh interfaces check` names the line and the setting."
)
_DOCTOR: Final = "run `ciris-mesh doctor`: the line has the command."

NODE_GROUPS: Final = (
    Group("checks of doctor", _DOCTOR, {
        "home": "The node's directory and its configuration: there, and readable.",
        "key_files": "Keys are readable by this user alone, and nobody else can change decisions.",
        "clock": "NTP, GPS or a battery-backed clock vouches for the time. Without it nothing is "
        "signed, because a wrong date in a signature is wrong for ever; all else goes on. A new "
        "node signs its own key first, so its first start waits for it. | "
        "timedatectl set-ntp true; a board without a network gets a battery-backed clock or GPS, "
        "or you set the time and write clock = assume-trusted in [node].",
        "disk": "Room on the file system of the store, and that it can be written. SD cards that "
        "fail become read-only.",
        "database": "The record store read from end to end (or as far as two seconds go).",
        "writes": "Bytes the node gave to disks, per hour since it started. SD cards wear out by "
        "small writes. | put Reticulum's cache on a RAM disk: a line `tmpfs "
        "/home/USER/.reticulum/storage/cache tmpfs size=16m,uid=USER 0 0` in /etc/fstab, the same "
        "for storage/resources. The record store itself writes in batches.",
        "reticulum": "Reticulum's configuration: there, and readable.",
        "reticulum_version": "The installed Reticulum: not one with known holes, and one this "
        "program was tested with.",
        "other_rnsd": "Another user's Reticulum shares its interfaces on this machine. It lets "
        "programs with its own key in only (\"digest sent was rejected\"), so this node would send "
        "and not know what its interfaces do. | run both as one user, or set `rpc_key` to the same "
        "value in both configurations, or give this node's an instance_name of its own.",
        "instance_name": "Two configurations of one user have the same instance_name: the second "
        "program joins the first, and its own interfaces are not used.",
        "port_permission": "May this user open the configured serial ports: by the group that "
        "owns them, which is dialout on most systems and plugdev on some. | sudo usermod -aG GROUP "
        "USER, then log in again; a service needs a restart.",
        "port_held": "Another program has the radio's port open.",
        "port_missing": "A configured port is not there now. The node runs on without it.",
        "interface_modes": "Modes and announce caps that do not do what they seem to, such as a "
        "radio flooded with announces of the internet. | " + _EDIT,
        "interface_settings": "Other settings of interfaces that are known to bite. | " + _EDIT,
        "airtime_limit": "The radio's own limit, which it keeps whatever any program does. | set "
        "airtime_limit_long as the line says; it is in percent of an hour.",
        "node": "The node runs and answers on its control socket.",
        "node_version": "The node that runs is older than what is installed.",
        "interfaces_down": "An interface Reticulum can't use now; it is tried again every 5 s.",
        "radio_deaf": "A radio that is up and has heard nothing for twelve hours, twice the time "
        "between announces: nobody is there, the antenna is off, the frequency wrong, or the "
        "firmware wedged. | unplug it and plug it in again; compare its settings with a neighbour.",
        "rns_inbound": "Reticulum's queue of packets that came in was full: the machine is too "
        "busy, or somebody floods it.",
        "airtime_used": "What radios sent within the last hour, of what the law allows.",
        "peers_path": "No announce of a peer came through, so there is no way to it. | start it, "
        "and check that both are on one network: rnpath ADDRESS.",
        "peers_stale": "A peer has not confirmed for longer than tau_partial_s that it and this "
        "node hold the same.",
        "peers_version": "A peer does not speak all this node speaks. | update the older one.",
        "peers_clock": "A peer's clock is off by days. | look at both clocks; only one is wrong.",
    }),
    Group("traps in Reticulum's configuration", _EDIT, {
        "interface_mode_crashes": "interface_mode with this value ends Reticulum at its start.",
        "interface_mode_hides_mode": "interface_mode and mode differ, and the first wins.",
        "unknown_mode": "No mode there is: Reticulum silently takes `full`.",
        "discoverable_forces_access_point": "discoverable makes a radio an access point.",
        "own_announces_blocked": "An access point keeps this node's own announces off the air too.",
        "announce_cap_raised": "Announces of others get more of the channel than usual.",
        "uncapped_announces": "Every announce of the internet goes on the air, without a cap.",
        "bridge_modes": "Announces of the internet take up to 2 % of the channel.",
        "bitrate_breaks_tcp": "A TCP interface with so low a bitrate has no MTU: it opens and "
        "closes for ever.",
        "bitrate_on_radio": "A bitrate that hides what the radio itself reports.",
        "backbone_stalls": "A Backbone interface may stop for seconds under load.",
        "locks_out_who_comes_back": "Addresses that reconnect often are refused for 12 hours.",
        "flow_control_wedges": "Flow control stops a radio after one packet.",
        "invalid_radio": "Settings of a radio that are missing or impossible.",
        "outside_band": "Outside the bands known here.",
        "needs_500_khz": "A radio that does not hop must be wide in this band.",
        "dwell_over_400_ms": "Frames longer than the band allows.",
        "no_airtime_limit": "No limit in a band whose law has one.",
        "airtime_limit_over_band": "A limit above the law's.",
        "airtime_limit_without_room": "A limit that can be overshot a little.",
        "queue_over_band": "A full queue of this radio alone is longer than the law allows.",
        "unknown_type": "No type of interface Reticulum has.",
        "port_not_by_id": "A port whose name changes with what is plugged in.",
        "port_not_there": "A port that is not there now.",
        "port_used_twice": "Two interfaces name the same port.",
    }),
    Group("links that end or never begin", "nothing: it is dialled again at the next cadence.", {
        "no_path": "Reticulum knows no way to the peer: none of its announces came through. | is "
        "it running, and is there an interface both share? rnpath ADDRESS shows.",
        "timeout": "Nothing was heard of the other side in time. | if a path is known: is it "
        "running?",
        "too_many_links": "More links than one identity, or all of them, may hold.",
        "stopped": "The node was stopped.",
        "closed": "This side hung up.",
        "handed_over": "An operator asks over this link; it is no link of the mesh. | nothing.",
        "peer_closed": "The other side hung up.",
        "stalled": "A frame made no progress.",
        "refused": "A frame was more than the other side lets this node send. | ask its operator "
        "to add this node as a peer.",
        "flooded": "More arrived than this side had agreed to hold.",
        "unidentified": "The other side did not say who it is in time.",
        "overstayed": "Somebody who is no peer held a link too long.",
        "half_open": "A link that somebody began to set up and did not finish.",
        "no_handshake": "The other end answers and does not say who it is. | does it run the same "
        "version?",
        "no_answer": "The link was up and silent.",
        "check_unanswered": "A comparison was not answered.",
        "link_down": "The link went down under a round.",
        "link_replaced": "Two links were made at once; one was kept.",
        "not_a_peer": "This node is no peer there, or the other none here. | the operator of the "
        "side that refuses runs: ciris-mesh peer add INVITE.",
        "out_of_turn": "A message of the handshake at the wrong time. | " + _PEERS_FAULT,
        "no_common_version": "No frame version both speak. | update the older node.",
        "ignored": "This node does not listen to that one: it is on the list of the ignored. | "
        "see who is: ciris-mesh peers --candidates.",
        "not_allowed": "Only strangers on the list of the allowed may knock here. | to let it: "
        "ciris-mesh peer allow ADDRESS.",
        "not_identified": "A binding came before the link's identity.",
        "binding_malformed": "A binding that is none. | " + _PEERS_FAULT,
        "binding_of_another": "A binding of another address than the link's. | somebody shows a "
        "binding that is not its own; if it is your peer, its identity file was changed.",
        "binding_rolled_back": "A binding older than one seen before. | the peer was restored from "
        "an old backup, or its clock is wrong; start it once with a clock that is right.",
        "binding_invalid": "A binding whose signature does not stand or whose time is over. | look "
        "at both clocks; the peer signs a new one when its clock is right.",
        "scope_malformed": "The peer spelled a scope that is none. | " + _PEERS_FAULT,
        "scope_mismatch": "The peer spelled another scope than its hello named. | " + _PEERS_FAULT,
        "fingerprint_mismatch": "At the peer's address answers a key with another fingerprint than "
        "the invite had. | ask for the invite again and compare the five words by voice.",
        "sent_garbage": "The peer sent bytes that are no frame. | " + _PEERS_FAULT,
    }),
    Group("frames and bytes turned away", _PEERS_FAULT, {
        "frame_not_permitted": "Larger than an identity that is no peer may send.",
        "frame_too_large": "Larger than anyone may send.",
        "frames_not_permitted": "More frames than an identity that is no peer may send.",
        "frame_unreadable": "What arrived is no frame.",
        "packet_unproven": "A packet of a link by radio that its other end did not make, or that "
        "came before. | nothing, unless it goes on: then somebody near by disturbs the link.",
        "set_up_repeated": "Nobody answered the first words of a link by radio, so the packet that "
        "ends its set-up went again. | nothing: packets get lost; if it goes on, the radio is far.",
        "reassembly_full": "Too many bytes are being put together already. | nothing: the sender "
        "tries again.",
        "inbound_busy": "Answered \"busy\"; the sender tries again. | nothing.",
        "link_not_ready": "Bytes on a link nobody owns, or not yet. | nothing.",
        "announce_flood": "Announces beyond the rate of one address, or of all. | nothing: one "
        "node announces too often, or many came at once.",
        "announce_unreadable": "An announce of a ciris-mesh node that can't be read.",
        "rns_inbound_dropped": "Packets Reticulum's own inbound queues dropped. | see `rns_inbound`"
        ": the machine is too busy, or somebody floods it.",
        "frame_of_unknown_link": "A frame of a link that is gone. | nothing.",
        "frame_no_room": "No room to work on a frame; its link is closed and dialled again. | "
        "nothing, unless it goes on: the machine is too busy.",
        "frame_unattributed": "A frame of somebody who is no peer. | if it is a friend, add it.",
        "frame_on_spare_link": "A frame on the link of two that was not kept. | nothing.",
        "digests_on_spare_link": "A comparison on the link of two that was not kept. | nothing.",
        "digests_unattributed": "A comparison by somebody who is no peer.",
        "digests_unasked": "An answer to a comparison this node did not make.",
        "unknownversion": "A frame version this node does not speak. | update the older node.",
        "decodeerror": "No message of its version.",
        "notareplicationframe": "Not a frame of this protocol.",
        "remoteprotocolerror": "Against the protocol.",
        "unexpectedmessage": "A message its phase does not allow.",
        "unexpected_message": "A message its phase does not allow.",
        "localprotocolerror": "A fault of this node's own. | report it, with the log.",
        "batches_for_nothing": "A peer that sends batches nothing of which is of use.",
        "kind_not_served": "A kind this node or the peer does not keep. | nothing: see `kinds` in "
        "[node].",
        "record_not_taken": "A record of a peer of which nothing is taken. | nothing: see the "
        "direction in `peers PEER`.",
        "kind_refused_too_often": "A kind the peer does not serve, asked for again and again.",
        "no_coordinator": "A message for which there is no round any more. | nothing.",
        "no_peer": "The peer was removed meanwhile. | nothing.",
        "other": "More different names than are counted apart. | report it: there are too many.",
        "taken_unasked": "A receipt for records that were not sent.",
        "unserved": "A peer asked for a kind that was not offered to it. | nothing.",
        "unwanted": "Offered, and this node keeps none of its kind. | nothing.",
        "too_often": "The peer took all it is offered twice in an hour, and asks again. | is it "
        "restored from one backup again and again? it is served after half an hour.",
        "too_many": "More offered at once than is read. | nothing: the rest comes next time.",
        "pinned": "A record held only because it is pinned is not passed on. | nothing.",
    }),
    Group("batches of coded records", _PEERS_FAULT, {
        "unknown_table": "Coded by a table this version does not have.",
        "not_deflated": "Not compressed as it says.",
        "inflates_too_far": "Unpacks to more than a batch may have.",
        "truncated": "Ends in the middle.",
        "trailing_bytes": "Goes on behind its end.",
        "too_many_records": "Holds more records than a batch may.",
        "too_many_operations": "Takes more steps to unpack than a batch may.",
        "too_many_runs": "A record is in more pieces than one of a batch may be.",
        "unknown_operation": "A step there is not.",
        "bad_reference": "Refers to something that was not there.",
        "bad_value": "A value that cannot be.",
        "not_predictable": "Says that something follows from the rest which does not.",
    }),
    Group("batches by radio", _REPAIRS_ITSELF, {
        "sent": "Records were handed to the radio together.",
        "taken": "The peer said that it took them.",
    }),
    Group("rounds", _REPAIRS_ITSELF, {
        "completed": "Both sides agree now.",
        "timed_out": "Nothing moved for as long as [rounds] no_progress_timeout_s says.",
        "error": "The round broke off; the reason beside it says why.",
        "no_progress": "Nothing moved for as long as [rounds] no_progress_timeout_s says.",
        "no_room": "No thread was free to work on it. | nothing, unless it goes on: the machine is "
        "too busy.",
        "back_pressure": "A queue was full. | nothing, unless it goes on: the machine is too busy.",
        "link_gone": "The link closed under a message.",
        "peer_unreachable": "No path, or no answer in time.",
        "payload_too_large": "A message larger than this link carries.",
        "peer_failed": "The other side gave the exchange up.",
        "undecodable": "Too many differences for the symbols sent; more are sent, or summaries.",
        "impossible": "A sketch decoded to something that cannot be: chance, or a changed set.",
        "wrong_result": "What both sides have in common differs after all.",
        "too_costly": "More steps than an exchange may take.",
        "too_much": "More records than sketches are fit for; summaries are used.",
        "other_buckets": "The two views have different numbers of buckets.",
        "other_round": "A message of another round; it crossed ours.",
        "nothing_open": "A message for which no round is open.",
        "ours_goes_first": "Both sides began at once; one goes first.",
        "symbols_not_asked_for": "Symbols of a sketch nobody asked for. | " + _PEERS_FAULT,
        "too_many_symbols": "More symbols than were asked for. | " + _PEERS_FAULT,
        "too_many_questions": "More questions than one exchange has. | " + _PEERS_FAULT,
        "no_such_cell": "A cell of a sketch there is not. | " + _PEERS_FAULT,
        "no_such_bucket": "A bucket of a view there is not. | " + _PEERS_FAULT,
        "ranks_malformed": "Ranks that are none. | " + _PEERS_FAULT,
        "wrong_kind_of_more": "More of something else than was asked for. | " + _PEERS_FAULT,
        "not_compared": "A sketch of kinds that were not compared before.",
        "not_stated": "Sketches from a peer that did not say it knows them. | " + _PEERS_FAULT,
        "too_often": "More exchanges than a peer may have in that time.",
        "fell_back": "Sketches came to nothing; summaries, which cost more, are used once.",
        "fall_back_waits": "Summaries would help and are too dear for this link just now.",
    }),
    Group("the air", "nothing: what waits goes out as the hour lets it. See: ciris-mesh budget.", {
        "no_air": "The hour's airtime is used; the frame was not sent.",
        "no_air_unasked": "A peer says it has no air on a link where that is no matter.",
        "peer_no_air": "The peer has no air left; it is asked again when it said.",
        "check_waits_for_air": "Comparing waits until there is air for it.",
        "nothing_to_send": "Nothing waits.",
        "quiet_hours": "Quiet hours: only removals go out.",
        "share_used": "Every peer that is owed something had its share of this hour.",
        "backing_off": "The last transfers to them failed.",
        "handed_enough": "A batch is on its way; the next waits for its end.",
        "over_budget": "It does not fit in what is left of the hour.",
        "never_fits": "Longer than a whole hour allows. | use a faster radio setting, or carry it: "
        "ciris-mesh export FILE.",
        "frame_too_long": "The law limits single frames here, and this radio's are longer. | set a "
        "wider bandwidth or a lower spreading factor in Reticulum.",
        "too_many_open": "Too many reservations are open.",
        "unknown_interface": "An interface nothing is counted on.",
        "queued": "It waits for its turn.",
        "already_queued": "It waits already.",
        "queue_full": "The queue of that peer is full; it is owed all the same.",
        "kind_not_on_radio": "The policy in [radio] keeps this kind off the radio.",
        "unknown_peer": "No peer the planner knows.",
        "too_many_peers": "More peers by radio than are planned for. | remove some.",
        "displaced": "Something more urgent took its place in the queue; it is owed all the same.",
        "batch_failed": "A batch did not arrive; it is sent again later.",
        "peer_had_no_air": "A batch found the peer without air; it is sent again later.",
        "batch_lapsed": "A batch nobody fetched in time; it is planned again.",
        "garbage": "It sent bytes that are no frame.",
        "sketch": "It broke the rules by which two nodes find out what differs.",
    }),
    Group("removals that are announced ahead of their record", "nothing: the record follows.", {
        "preview": "It announced what is no removal, or one that does not stand.",
        "preview_not_stated": "A preview on a link where none was agreed on.",
        "preview_too_often": "Previews came to nothing so often that the peer has to wait.",
        "preview_no_air": "No air is left even for a preview.",
        "preview_contradicted": "The record came under the announced id, and does not stand. | ask "
        "the peer's operator; it is not heard again for a day.",
        "preview_lapsed": "The record did not come in six hours. | carry it: ciris-mesh export "
        "FILE; is the peer's air used up?",
        "malformed": "It cannot be read.",
        "no_removal": "Something that is no removal was announced.",
        "not_signed": "The classical half of a signature does not stand.",
        "another_record": "The announced id is not that of the content.",
        "record_is_here": "The record is here already.",
        "lapsed_before": "What this peer announced did not come; it is not heard for a day.",
        "peer_full": "The peer has announced as many as it may.",
        "signer_full": "The signer has announced as many as it may.",
        "no_standing": "By what is known here, those who signed it may not remove that.",
    }),
    Group("the control socket", "see the log of the node; `ciris-mesh -vv COMMAND` shows more.", {
        "answer_too_long": "The answer would be too long; ask for less.",
        "bad_request": "The line is no request.",
        "denied": "This user may not do that on this node. | see group and acting_users in "
        "[control], or ask as the node's user.",
        "unknown_op": "The node does not know that question: it is of another version. | restart "
        "it after an update.",
        "too_long": "Longer than it may be.",
        "failed": "It could not be done; the text says why.",
        "internal": "A fault of the node's own. | report it, with the log.",
        "idle": "A client sent nothing for long.",
        "client_gone": "A client went away before its answer. | nothing.",
        "busy": "It answers as many others as it does at a time. | try again.",
        "replayed": "A request that acts came twice: the second was not obeyed. | nothing.",
        "no_resources": "The system had no threads or descriptors left. | look at what uses them: "
        "top.",
    }),
    Group("alerts", "ask the node: status, peers or budget; or run `ciris-mesh doctor` on it.", {
        "peer_stale": "Nothing was heard of a peer for longer than stale_h in [operator] says.",
        "key_revoked": "A key this node relies on is revoked. | ask its owner on another way; see "
        "`ciris-mesh resolve key KEY_ID`, then remove the peer or the pin.",
        "radio_lost": "A radio is gone for a minute: unplugged, without power, or wedged.",
        "budget_exhausted": "The radio's hour is used up for a quarter of an hour and records "
        "wait. | nothing: it goes on by itself; a wider budget or `export` on a stick is faster.",
        "disk_full": "Under 64 MB are left where records are kept. | make room; nothing is lost.",
        "disk_read_only": "What is new is not kept. SD cards that fail become read-only. | make a "
        "backup now: ciris-mesh backup FILE, on another disk; then replace the card.",
    }),
    Group("messages to and from people", "see who may do what: ciris-mesh operator list.", {
        "operator_stranger": "Somebody wrote who is not accepted here. | if you know them: "
        "ciris-mesh operator accept ADDRESS.",
        "operator_asks_too_often": "More than 30 questions in an hour; those after it were not "
        "answered. | nothing: it ends by itself.",
        "operator_may_not_act": "Somebody who may ask wanted to change something.",
        "operator_replay": "A command was sent before the last one that counted: it came late, or "
        "somebody recorded and repeated it. | send it again.",
        "operator_clock_ahead": "A command says it was sent in the future. | set the phone's "
        "clock.",
        "alert_muted": "An alert was not sent to somebody who muted them. | nothing; ask: status.",
        "alert_lost": "An alert could not be delivered for a day, or newer ones took its place. | "
        "is the phone on? With propagation_node in [operator] alerts are kept for it.",
        "message_bad_signature": "A message was not by whom it says.",
        "message_unknown_sender": "A message by somebody whose key did not arrive in two minutes. "
        "| they announce, then write again.",
        "message_inbox_full": "More than 64 messages at once; the newest were not read.",
        "message_malformed": "A message held something else than text and a time, as no app sends "
        "it.",
        "message_stamp_too_dear": "Somebody asks for so much work before a message to them that it "
        "would take this node minutes; nothing was sent. | they lower the stamp cost in their app "
        "to 12 or less.",
        "message_undelivered": "An answer or alert did not arrive. Alerts are tried again.",
        "web_other_site": "A page of another site asked this node's through a browser, and was "
        "shown nothing. | if it goes on: look which pages are open in that browser.",
        "web_wrong_host": "A browser asked for the page under a name that is not this node's. | if "
        "the name is yours: `names` in [web].",
        "web_no_token": "Somebody asked for the page without its token.",
        "web_too_many_pages": "More than eight pages were open at once.",
        "web_too_many_connections": "More than 32 browsers or programs were connected at once.",
        "service_not_started": "The page in the browser could not be opened; the node works "
        "without it. | its log says why; mostly another program has the port of `listen` in [web].",
        "page_denied": "Somebody who is not on the list asked for the status page. | to let them: "
        "`allowed` in [page].",
    }),
    Group("invites", "ask for the line once more, and paste the whole of it.", {
        "not_an_invite": "The text is no invite.",
        "truncated": "The end is missing.",
        "mistyped": "A letter is wrong.",
        "newer_version": "Made by a newer version. | update this node.",
    }),
    Group("a record store in a database", "look at its server.", {
        "database_unreachable": "The server does not answer, or the way to it is cut. Nothing is "
        "admitted meanwhile, and nothing that was acknowledged is lost. | start the server; the "
        "node tries again by itself.",
        "database_rows_hidden": "Another node, or somebody by hand, wrote rows that would not come "
        "in here. They do not count here, and peers' true copies take their place. | see which: "
        "ciris-mesh db check, and give all nodes of a database the same [trust].",
        "database_not_followed": "What other nodes wrote could not be looked at. | see the log.",
    }),
    Group("errors of commands", "do what the line says.", {
        "operator_error": "Something a person has to put right.",
        "config_error": "The configuration cannot be used as it is.",
        "key_file_error": "A key file is missing, damaged or readable by others.",
        "directory_error": "The record store cannot be opened or is not ours.",
        "clock_untrusted": "Nothing is signed while nobody vouches for the clock. | see `clock`: "
        "ciris-mesh explain clock.",
        "node_not_running": "No node answers. | ciris-mesh run.",
        "already_running": "Another process holds this home.",
        "invite_error": "The text is no invite that can be used.",
        "backup_error": "A backup, or what was written on paper, cannot be made or used.",
        "store_unreachable": "The database server does not answer; nothing is stored meanwhile. | "
        "is it running, and is its address right? The node goes on when it is back.",
        "lifecycle_error": "The node is starting or stopping. | try again.",
        "malformed_record": "The bytes are no record of the kind they claim.",
    }),
    Group("emulated radios", "nothing: that is what `ciris-mesh ether` is for.", {
        "kiss_noise": "Bytes outside a frame.",
        "kiss_bad_escape": "A wrong escape.",
        "kiss_too_long": "A frame longer than one may be.",
        "unknown_command": "A command the device does not know.",
        "bad_length": "A command with the wrong number of bytes.",
        "half_packet": "One of two frames; the other never came.",
        "empty_frame": "Heard, and nothing in it.",
        "power_lost": "Still queued when the device lost power.",
        "cut_off": "On its way when the radio was switched off or retuned.",
        "delivered": "Heard.",
        "lost": "Lost by chance.",
        "collided": "Two sent at once.",
        "deaf": "The receiver was sending itself.",
        "out_of_reach": "Too far.",
        "mistuned": "Another frequency, bandwidth or spreading factor.",
        "off": "The receiver was off.",
        "cut": "The sender went off in the middle.",
    }),
)  # fmt: skip
