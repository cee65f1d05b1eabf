"""From a fixed file of results to the table, the page and the pictures."""

import tempfile
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

import report
import rows
from figures import figures

RESULTS = Path(__file__).with_name("results.csv")


class TheTable(unittest.TestCase):
    def setUp(self):
        self.table = report.table(*rows.read(RESULTS))

    def line(self, start):
        lines = [" ".join(line.split()) for line in self.table.splitlines()]
        found = [line for line in lines if line.startswith(start)]
        self.assertEqual(len(found), 1, f"{start}:\n{self.table}")
        return found[0]

    def test_median_least_most_runs_and_the_ratio_of_each_round_are_in_a_line(self):
        self.assertEqual(
            self.line("leat fullnat: cost hugepages, 60 bytes 1 "),
            "leat fullnat: cost hugepages, 60 bytes 1 37.5 25.0 50.0 ns/packet = 26.7 Mpps 2 of 3"
            " 0.80 × testpmd 5tswap; it ended | <by itself>",
        )

    def test_a_reference_is_not_compared_to_itself(self):
        self.assertTrue(self.line("testpmd 5tswap: cost hugepages, 60 bytes 1 ").endswith(" 3"), self.table)

    def test_what_failed_says_so_and_why(self):
        self.assertTrue(self.line("nftables").endswith("1 local address failed 0 of 1 nft: Operation not supported"))
        self.assertTrue(self.line("leat: all").endswith("failed 0 of 1 no bench target named `micro`"))

    def test_what_making_the_packets_took_stands_beside_forwarding_them(self):
        line = self.line("leat fullnat: forward-udp original, 60 bytes 1,000")
        self.assertTrue(line.endswith("ns/packet = 42.6 Mpps 1 making it took 7.25 ns more"), line)
        self.assertNotIn("make-udp", self.table)

    def test_of_rates_more_is_better(self):
        self.assertTrue(self.line("leat fullnat, tap: requests").endswith("20,000 requests/s 1 0.50 × direct"))

    def test_the_machine_is_named_and_details_are_left_to_the_page(self):
        self.assertTrue(self.table.startswith("machine a table, 2 CPUs; kernel 6.1\n"))
        self.assertNotIn("clock rate", self.table)

    def test_large_numbers_keep_three_digits(self):
        self.assertEqual(report.number(1_612_345), "1,612,345")
        self.assertEqual(report.number(81_612_345.0), "81.6M")
        self.assertEqual([report.number(value) for value in (0.123, 23.45, None)], ["0.12", "23.4", "-"])


class ThePage(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name)
        report.write(*rows.read(RESULTS), self.out)
        self.page = (self.out / "README.md").read_text(encoding="utf-8")

    def pictures(self):
        return {path.name: path.read_text(encoding="utf-8") for path in self.out.glob("*.svg")}

    def test_pictures_are_well_formed_and_say_what_they_are(self):
        pictures = self.pictures()
        self.assertEqual(
            set(pictures), {"throughput-modes.svg", "cost-driver.svg", "cost-pipeline.svg", "requests.svg"}
        )
        for name, text in pictures.items():
            root = xml.fromstring(text)
            self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg", name)
            self.assertIn(f"]({name})", self.page)
            self.assertIn(root.find("{http://www.w3.org/2000/svg}title").text, self.page)

    def test_everything_drawn_lies_within_its_picture(self):
        for name, text in self.pictures().items():
            root = xml.fromstring(text)
            width, height = float(root.get("width")), float(root.get("height"))
            for element in root:
                for key, most in (("x", width), ("x2", width), ("cx", width), ("y", height), ("y2", height), ("cy", height)):
                    value = element.get(key)
                    self.assertTrue(value is None or 0 <= float(value) <= most, f"{name}: {key} {value}")

    def test_a_bar_that_failed_is_shown_as_failed(self):
        pictures = self.pictures()
        self.assertIn(">failed<", pictures["requests.svg"])
        self.assertIn(">leat gue<", pictures["throughput-modes.svg"])

    def test_the_same_results_give_the_same_bytes(self):
        with tempfile.TemporaryDirectory() as other:
            report.write(*rows.read(RESULTS), Path(other))
            for path in self.out.iterdir():
                self.assertEqual(path.read_bytes(), (Path(other) / path.name).read_bytes(), path.name)

    def test_every_figure_is_a_row_of_a_table_of_its_level(self):
        lines = [line for line in self.page.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
        rows_of_tables = [line for line in lines if line.count(" | ") >= 8]
        heads = [line for line in rows_of_tables if line.startswith("| what |")]
        _, measured = rows.read(RESULTS)
        self.assertEqual(len(heads), len({row.level for row in measured}))
        self.assertEqual(len(rows_of_tables) - len(heads), len(figures(measured)))
        self.assertIn("it ended \\| &lt;by itself>", self.page)
        self.assertNotIn("<!--", self.page)

    def test_results_without_anything_to_draw_make_a_page_without_pictures(self):
        with tempfile.TemporaryDirectory() as other:
            report.write({"kernel": "6.1"}, [rows.Row("driver", "all", "leat", note="no CPU")], Path(other))
            self.assertEqual([path.name for path in Path(other).iterdir()], ["README.md"])


class TheFile(unittest.TestCase):
    def test_what_is_written_is_read_back(self):
        written = [
            rows.Row("driver", "cost", "leat", "dr", "hugepages", 1000, 60, 2, 23.4567, "ns/packet", "testpmd io"),
            rows.Row("end to end", "requests", "HAProxy", value=1_234_567.0, note='two\nlines, "quoted"'),
            rows.Row("micro", "all", "leat"),
        ]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.csv"
            writer = rows.Writer(path, {"cpu": "fast: very"})
            for row in written:
                writer.write(row)
            writer.close()
            facts, read = rows.read(path)
        self.assertEqual(facts, {"cpu": "fast: very"})
        self.assertEqual(read[0], written[0])
        self.assertEqual((read[1].value, read[1].note), (1_234_567.0, 'two lines, "quoted"'))
        self.assertEqual(read[2], written[2])


if __name__ == "__main__":
    unittest.main()
