"""What levels send and what they read: captures, other programs' output, two samples of a process."""

import struct
import tempfile
import unittest
from pathlib import Path

import captures
import pipeline
import process
import samples
from context import Run
from machine import Memory
from network import parse_wrk
from process import Failure


class ACapture(unittest.TestCase):
    def test_has_the_shortest_frames_each_of_another_flow_with_right_checksums(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "flows.pcap"
            captures.write(path, 300, first=5)
            content = path.read_bytes()
        self.assertEqual(len(content), 24 + 300 * (16 + 60))
        frames = [content[24 + 76 * i + 16 : 24 + 76 * (i + 1)] for i in range(300)]
        self.assertEqual(frames[0], captures.udp_frame(5))
        self.assertEqual(len({frame[26:30] for frame in frames}), 300)
        for frame in frames:
            self.assertEqual(folded(frame[14:34]), 0xFFFF)
            self.assertEqual(folded(frame[26:34] + struct.pack("!BBH", 0, 17, 26) + frame[34:]), 0xFFFF)


class ThePipelineProgram(unittest.TestCase):
    def test_lines_of_csv_become_rows_and_cargos_own_lines_do_not(self):
        text = (
            "   Compiling leat, somewhere\nwhat,mode,direction,flows,frame,round,value,unit\n"
            "forward-udp,fullnat,reply,1000,60,2,23.456,ns/packet\n"
            "forward-udp,dr,original,1000,imix,0,24,ns/packet\n"
            "connect,fullnat,both,1048576,60,0,1600000,connections/s\n"
            "memory,fullnat,both,1048576,,0,79.5,bytes/connection\n"
        )
        found = [(r.level, r.measure, r.mode, r.setting, r.flows, r.frame, r.round, r.value) for r in pipeline.parse(text)]
        self.assertEqual(
            found,
            [
                ("pipeline", "forward-udp", "fullnat", "reply", 1000, 60, 2, 23.456),
                ("pipeline", "forward-udp", "dr", "original, imix", 1000, None, 0, 24.0),
                ("connections", "connect", "fullnat", "both", 1048576, 60, 0, 1600000.0),
                ("memory", "memory", "fullnat", "both", 1048576, None, 0, 79.5),
            ],
        )


class ACommandThatFails(unittest.TestCase):
    def test_says_its_last_words_and_hands_over_what_it_wrote(self):
        with self.assertRaises(Failure) as caught:
            process.run(["sh", "-c", "echo row; echo first >&2; echo last >&2; exit 3"])
        self.assertTrue(str(caught.exception).endswith(": last"), caught.exception)
        self.assertEqual(caught.exception.stdout, "row\n")

    def test_of_a_panic_says_what_panicked(self):
        script = "printf 'thread main panicked at a.rs:1:\\nno packet is dropped\\nstack backtrace:\\n' >&2; exit 101"
        with self.assertRaisesRegex(Failure, ": no packet is dropped$"):
            process.run(["sh", "-c", script])

    def test_that_is_not_there_is_named(self):
        with self.assertRaisesRegex(Failure, "no-such-program is not installed"):
            process.need("sh", "no-such-program")


class Wrk(unittest.TestCase):
    REPORT = """
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.42ms    2.64ms  24.21ms   87.43%
  Latency Distribution
     50%  326.00us
     75%    1.69ms
     90%    4.91ms
     99%    1.12s
  38712 requests in 2.00s, 6.57MB read
{}Requests/sec:  19347.12
"""

    def test_rate_and_percentiles_are_read_in_their_units(self):
        rate, percentiles, note = parse_wrk(self.REPORT.format(""))
        self.assertEqual((rate, note), (19347.12, ""))
        self.assertEqual(percentiles, {50: 326.0, 90: 4910.0, 99: 1_120_000.0})

    def test_what_went_wrong_is_said(self):
        wrong = "  Socket errors: connect 0, read 3, write 0, timeout 12\n  Non-2xx or 3xx responses: 7\n"
        self.assertEqual(parse_wrk(self.REPORT.format(wrong))[2], "3 read errors, 12 timeout errors, 7 wrong answers")


class AWindow(unittest.TestCase):
    BEFORE = samples.Sample(10.0, [1000, 0], [500, 700], sent=900, handed_over=0, drops={"stray_reply": 5})

    def test_cost_and_rates_come_from_differences(self):
        after = samples.Sample(12.0, [3_001_000, 1_000_000], [100_000_500, 100_000_700], sent=4_000_900, handed_over=400_000)
        window = samples.Window(self.BEFORE, after)
        self.assertEqual((window.received, window.cost, window.rate), (4_000_000, 50.0, 2.0))
        self.assertEqual((window.rate_on_cpu, window.handed_over, window.lost), (40.0, 0.1, ""))

    def test_packets_that_were_not_sent_are_said_with_the_reason_of_most(self):
        drops = {"stray_reply": 6, "hand_over_full": 900_000}
        window = samples.Window(self.BEFORE, samples.Sample(12.0, [3_001_000, 0], [10**8, 10**8], 2_100_900, drops=drops))
        self.assertEqual(window.lost, "30.0% not sent, most as hand_over_full")


class ARun(unittest.TestCase):
    def test_rounds_of_the_command_line_come_before_the_levels_own(self):
        with tempfile.TemporaryDirectory() as folder:
            run = lambda quick, rounds: Run(Path("."), Path(folder), Memory(False), [0], quick, rounds)  # noqa: E731
            runs = [run(True, 0), run(False, 0), run(True, 7)]
            self.assertEqual([run.rounds(quick=3, full=11) for run in runs], [3, 11, 7])
            for each in runs:
                each.close()

    def test_eal_is_told_where_its_memory_comes_from(self):
        self.assertEqual(Memory(True).eal(512), ["--in-memory"])
        self.assertEqual(Memory(False).eal(512), ["--no-huge", "-m", "512", "--no-shconf"])


def folded(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


if __name__ == "__main__":
    unittest.main()
