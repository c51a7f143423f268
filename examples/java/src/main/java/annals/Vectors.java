package annals;

import annals.Journal.Head;
import annals.Journal.Judged;
import annals.Journal.Verdict;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;
import java.math.BigInteger;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/** Tests {@code Journal} with docs/reference/vectors.json, whose path is the argument; exits with 1 if anything differs. */
final class Vectors {
  private int passed;
  private int failed;

  public static void main(String[] arguments) throws IOException {
    JsonNode vectors = new ObjectMapper().readTree(new File(arguments[0]));
    Vectors run = new Vectors();
    vectors.get("keys").forEach(run::testKey);
    vectors.get("blocks").forEach(run::testBlock);
    vectors.get("journals").forEach(run::testJournal);
    System.out.printf("%d passed, %d failed%n", run.passed, run.failed);
    System.exit(run.failed == 0 && run.passed > 0 ? 0 : 1);
  }

  private void testKey(JsonNode vector) {
    for (Map.Entry<String, JsonNode> each : vector.get("partition").properties()) {
      int found = Journal.partitionOf(bytes(vector.get("key")), Integer.parseInt(each.getKey()));
      expect("key " + vector.get("key").asText(), each.getValue().asInt(), found);
    }
  }

  private void testBlock(JsonNode vector) {
    Judged found = new Journal("person", 0, 1).read(bytes(vector.get("key")), bytes(vector.get("value")));
    expect(vector.get("name").asText(), vector.get("verdict").asText(), word(found.verdict()));
    if (found.verdict() == Verdict.COUNTS) {
      expect(vector.get("name").asText(), vector.get("cid").asText(), found.cid());
    }
  }

  private void testJournal(JsonNode vector) {
    String name = vector.get("name").asText();
    Journal journal = new Journal(vector.get("kind").asText(), vector.get("partition").asInt(), vector.get("partitions").asInt());
    Set<String> counted = new HashSet<>();
    for (JsonNode record : vector.get("records")) {
      Judged found = journal.read(bytes(record.get("key")), bytes(record.get("value")));
      expect(name + " at " + record.get("offset"), record.get("verdict").asText(), word(found.verdict()));
      if (found.verdict() == Verdict.COUNTS) {
        counted.add(found.event().get("aggregate_id") + " " + found.cid());
      }
    }
    Map<String, Head> heads = new HashMap<>();
    for (Map.Entry<String, JsonNode> head : vector.get("heads").properties()) {
      BigInteger version = head.getValue().get("version").bigIntegerValue();
      heads.put(head.getKey(), new Head(version, head.getValue().get("head").asText()));
    }
    expect(name + ": heads", heads, journal.heads);
    for (JsonNode kept : vector.get("kept")) {
      boolean found = counted.contains(kept.get("aggregate_id").asText() + " " + kept.get("cid").asText());
      expect(name + ": kept head", kept.get("is_in_chain").asBoolean(), found);
    }
  }

  private void expect(String name, Object expected, Object found) {
    if (expected.equals(found)) {
      passed++;
    } else {
      failed++;
      System.out.printf("%s: expected %s, found %s%n", name, expected, found);
    }
  }

  private static String word(Verdict verdict) {
    return verdict.name().toLowerCase(Locale.ROOT);
  }

  private static byte[] bytes(JsonNode text) {
    return text.isNull() ? null : HexFormat.of().parseHex(text.asText());
  }
}
