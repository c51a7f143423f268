package annals;

import annals.Journal.Judged;
import annals.Journal.Verdict;
import java.time.Duration;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/**
 * A consumer that believes only what counts, and compares heads that somebody kept: {@code KIND [ID CID]…}.
 *
 * <p>Reads the kind's journal from its beginning to its present end. Prints an event that counts in one line, and what does
 * not count; exits with 1 if there is anything, or if a kept head is not in its chain.
 */
final class VerifyingConsumer {
  private final Map<Integer, Journal> journals = new HashMap<>();
  private final Map<Verdict, Integer> counts = new EnumMap<>(Verdict.class);
  private final Set<String> met = new HashSet<>();

  public static void main(String[] arguments) {
    if (arguments.length % 2 == 0) {
      System.err.println("usage: VerifyingConsumer KIND [ID CID]…");
      System.exit(2);
    }
    System.exit(new VerifyingConsumer().verify(arguments[0], List.of(arguments).subList(1, arguments.length)) ? 0 : 1);
  }

  private boolean verify(String kind, List<String> kept) {
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(Settings.forReading())) {
      List<TopicPartition> partitions = Settings.partitions(consumer, "events." + kind);
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      partitions.forEach(each -> journals.put(each.partition(), new Journal(kind, each.partition(), partitions.size())));
      while (!counts.containsKey(Verdict.GAP) && ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
          if (!counts.containsKey(Verdict.GAP)) { // events are missing: nothing is guessed
            show(record, journals.get(record.partition()).read(record.key(), record.value()));
          }
        }
      }
    }
    return report(kept);
  }

  private void show(ConsumerRecord<byte[], byte[]> record, Judged judged) {
    counts.merge(judged.verdict(), 1, Integer::sum);
    if (judged.verdict() != Verdict.COUNTS) {
      System.out.printf("partition %d offset %d: %s%n", record.partition(), record.offset(), judged.verdict().name().toLowerCase(java.util.Locale.ROOT));
      return;
    }
    Map<String, Object> event = judged.event();
    met.add(event.get("aggregate_id") + " " + judged.cid());
    System.out.printf("%s version %s: %s %s%n", event.get("aggregate_id"), event.get("version"), event.get("type"), judged.cid());
  }

  private boolean report(List<String> kept) {
    int missing = 0;
    for (int at = 0; at < kept.size(); at += 2) {
      if (!met.contains(kept.get(at) + " " + kept.get(at + 1))) {
        missing++;
        System.out.printf("%s: the head %s that you kept is not in its chain%n", kept.get(at), kept.get(at + 1));
      }
    }
    int passedOver = counts.getOrDefault(Verdict.VOID, 0) + counts.getOrDefault(Verdict.FOREIGN, 0);
    int gaps = counts.getOrDefault(Verdict.GAP, 0);
    System.out.printf(
        "%d events count; %d records do not, %d after a gap; %d of %d kept heads found%n",
        counts.getOrDefault(Verdict.COUNTS, 0), passedOver, gaps, kept.size() / 2 - missing, kept.size() / 2);
    return passedOver + gaps + missing == 0;
  }
}
