package annals;

import annals.DagCbor.Link;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.LocalDateTime;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import org.apache.commons.codec.binary.Base32;
import org.apache.commons.codec.digest.Blake3;
import org.apache.kafka.common.utils.Utils;

/**
 * The rule of every reader (docs/reference/wire.md) for one partition of a kind's journal: which of its records count.
 *
 * <p>{@code heads} and {@code voids} are all that has to be kept with an offset, to go on from there.
 */
final class Journal {
  enum Verdict { COUNTS, VOID, FOREIGN, GAP }

  /** What a record is; event and CID are null where it is foreign. */
  record Judged(Verdict verdict, Map<String, Object> event, String cid) {}

  /** The version and the CID of an aggregate's last event that counts. */
  record Head(BigInteger version, String cid) {}

  private static final Head START = new Head(BigInteger.ZERO, null);
  private static final Judged FOREIGN = new Judged(Verdict.FOREIGN, null, null);
  private static final byte[] CID_PREFIX = HexFormat.of().parseHex("01711e20"); // CIDv1, dag-cbor, BLAKE3, 32 bytes
  private static final Pattern MOMENT =
      Pattern.compile("(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z");
  private static final Predicate<Object> TEXT = String.class::isInstance;
  private static final Predicate<Object> TEXT_OR_NULL = value -> value == null || value instanceof String;
  private static final Predicate<Object> INTEGER = BigInteger.class::isInstance;
  private static final Map<String, Predicate<Object>> MEMBERS = Map.ofEntries(
      Map.entry("kind", TEXT),
      Map.entry("aggregate_id", TEXT),
      Map.entry("version", INTEGER),
      Map.entry("previous", Journal::isLinkToEvent),
      Map.entry("type", TEXT),
      Map.entry("schema_version", INTEGER),
      Map.entry("recorded_at", Journal::isMoment),
      Map.entry("command_id", TEXT),
      Map.entry("correlation_id", TEXT),
      Map.entry("causation_id", TEXT_OR_NULL),
      Map.entry("actor", TEXT_OR_NULL),
      Map.entry("data", value -> value instanceof Map && isJson(value)));

  final Map<String, Head> heads = new HashMap<>();
  final Set<String> voids = new HashSet<>();
  private final String kind;
  private final int partition;
  private final int partitions;

  Journal(String kind, int partition, int partitions) {
    this.kind = kind;
    this.partition = partition;
    this.partitions = partitions;
  }

  /** Says what the next record is. */
  Judged read(byte[] key, byte[] value) {
    Map<String, Object> event = value == null ? null : readBlock(value);
    if (event == null || key == null || !event.get("kind").equals(kind)) {
      return FOREIGN;
    }
    String id = (String) event.get("aggregate_id");
    if (!Arrays.equals(id.getBytes(StandardCharsets.UTF_8), key) || partitionOf(key, partitions) != partition) {
      return FOREIGN;
    }
    String cid = cidOf(value);
    BigInteger version = (BigInteger) event.get("version");
    String previous = event.get("previous") instanceof Link link ? inText(link.cid()) : null;
    Head last = heads.getOrDefault(id, START);
    BigInteger following = last.version().add(BigInteger.ONE);
    if (version.equals(following) && (previous == null ? last.cid() == null : previous.equals(last.cid()))) {
      heads.put(id, new Head(version, cid));
      return new Judged(Verdict.COUNTS, event, cid);
    }
    if (version.compareTo(following) <= 0 || voids.contains(previous)) {
      voids.add(cid);
      return new Judged(Verdict.VOID, event, cid);
    }
    return new Judged(Verdict.GAP, event, cid);
  }

  /** Returns the event in a record's value: part 1 of the rule; null if there is none. */
  @SuppressWarnings("unchecked")
  private static Map<String, Object> readBlock(byte[] value) {
    Object decoded;
    try {
      decoded = DagCbor.decode(value);
    } catch (DagCbor.NotCanonicalException error) {
      return null;
    }
    if (!(decoded instanceof Map<?, ?> event) || !event.keySet().equals(MEMBERS.keySet())) {
      return null;
    }
    boolean isTyped = MEMBERS.entrySet().stream().allMatch(member -> member.getValue().test(event.get(member.getKey())));
    return isTyped ? (Map<String, Object>) event : null;
  }

  private static boolean isLinkToEvent(Object value) {
    return value == null
        || value instanceof Link(byte[] cid)
            && cid.length == CID_PREFIX.length + 32
            && Arrays.equals(cid, 0, CID_PREFIX.length, CID_PREFIX, 0, CID_PREFIX.length);
  }

  private static boolean isMoment(Object value) {
    if (!(value instanceof String text) || !MOMENT.matcher(text).matches()) {
      return false;
    }
    try {
      LocalDateTime.parse(text.substring(0, text.length() - 1)); // February 30 is refused
      return true;
    } catch (DateTimeException error) {
      return false;
    }
  }

  /** Whether there is no link in a value; its depth is bounded already. */
  private static boolean isJson(Object value) {
    return switch (value) {
      case null -> true;
      case Map<?, ?> members -> members.values().stream().allMatch(Journal::isJson);
      case List<?> items -> items.stream().allMatch(Journal::isJson);
      default -> !(value instanceof Link);
    };
  }

  static String cidOf(byte[] block) {
    byte[] cid = Arrays.copyOf(CID_PREFIX, CID_PREFIX.length + 32);
    System.arraycopy(Blake3.hash(block), 0, cid, CID_PREFIX.length, 32);
    return inText(cid);
  }

  private static String inText(byte[] cid) {
    return "b" + new Base32().encodeToString(cid).toLowerCase(java.util.Locale.ROOT).replace("=", "");
  }

  /** The partition that a key belongs to: what the producer's default partitioner does with keys. */
  static int partitionOf(byte[] key, int partitions) {
    return Utils.toPositive(Utils.murmur2(key)) % partitions;
  }
}
